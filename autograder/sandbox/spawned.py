"""The first lines of a child that was not forked: connect back, then run the agent (or the probe)."""

import importlib
import json
import socket

from .server import preload


def main(argument):
    """`argument`: JSON with port, token, program, preload. What takes long to import is no part of a student's time."""
    options = json.loads(argument)
    preload(options["preload"])
    sock = socket.create_connection(("127.0.0.1", options["port"]))
    sock.sendall(options["token"].encode())
    importlib.import_module(f"{__package__}.{options['program']}").main(sock)
