"""The first lines of a child that was not forked: connect back, then run the agent (or the probe)."""

import importlib
import json
import socket


def main(argument):
    options = json.loads(argument)
    sock = socket.create_connection(("127.0.0.1", options["port"]))
    sock.sendall(options["token"].encode())
    importlib.import_module(f"{__package__}.{options['program']}").main(sock)
