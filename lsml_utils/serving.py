"""Servers on this machine for demo cells: an ASGI application under uvicorn, open-loop load, a real Prometheus.

Everything listens on the loopback, on a port that the system gives, and is stopped when its `with` block ends, also by
an error; what is left ends with Python, also with one that is killed. What is missing, or does not start, says so in
one line, and the block gets None.
"""

import asyncio
import atexit
import contextlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lsml_utils import engines

HOST = "127.0.0.1"

# A process of its own between us and a program: it ends the program when our end of the pipe is closed, whatever closes
# it. Its own standard output is the program's, line by line.
_KEEPER = """
import subprocess, sys, threading
program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
def wait():
    sys.stdin.buffer.read()
    program.kill()
threading.Thread(target=wait, daemon=True).start()
program.wait()
"""


class Sent(NamedTuple):
    """One request of an open-loop load: when it was due, when it was sent, when its answer was there, in seconds from
    the beginning; and the status (0: the connection failed)."""

    due: float
    sent: float
    done: float
    status: int


class Prometheus(NamedTuple):
    """A running Prometheus: `port`, and the seconds that it took until it was ready."""

    port: int
    ready_seconds: float

    def query(self, expression: str) -> list[dict]:
        """What /api/v1/query answers: a dict for each series, with "metric" (labels) and "value" (time, text)."""
        address = f"http://{HOST}:{self.port}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(address, timeout=5) as answer:
            return json.load(answer)["data"]["result"]

    def number(self, expression: str) -> float:
        """The value of the first series, nan where there is none."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else math.nan

    def wait(self, expression: str, at_least: float, seconds: float = 15.0) -> bool:
        """Ask until the value of the first series is at least that; False if it is not within these seconds."""
        until = time.monotonic() + seconds
        while not self.number(expression) >= at_least:
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True


@contextlib.contextmanager
def serve(app: Callable, seconds: float = 10.0) -> Iterator[int | None]:
    """Run an ASGI application under uvicorn in a thread; the block gets its port, or None after one line.

    >>> with serve(None) as port:  # doctest: +SKIP
    ...     print(port)
    """
    uvicorn = engines.library("uvicorn")
    if uvicorn is None:
        yield None
        return
    settings = {"lifespan": "off", "log_config": None, "log_level": "critical", "access_log": False, "ws": "none"}
    server = uvicorn.Server(uvicorn.Config(app, host=HOST, port=0, timeout_graceful_shutdown=2, **settings))
    # In a thread there are no signals to catch, and uvicorn knows it.
    thread = threading.Thread(target=server.run, name="uvicorn", daemon=True)
    with _closing(lambda: _end(server, thread)):
        thread.start()
        until = time.monotonic() + seconds
        while not server.started and thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)
        if not server.started:
            engines._say("uvicorn did not start")
            yield None
            return
        yield server.servers[0].sockets[0].getsockname()[1]


@contextlib.contextmanager
def prometheus(targets: dict[str, int], interval: float = 1.0, seconds: float = 20.0) -> Iterator[Prometheus | None]:
    """Run a Prometheus that scrapes /metrics of each target (its name as label "job", and its port on this machine).

    The block gets a `Prometheus`, or None after one line. Its data are in a temporary folder, which is removed.
    """
    path = engines.program("prometheus")
    if path is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="lsml-prometheus-", ignore_cleanup_errors=True) as folder:
        jobs = [
            {"job_name": name, "static_configs": [{"targets": [f"{HOST}:{port}"]}]} for name, port in targets.items()
        ]
        often = f"{max(1, round(1000 * interval))}ms"
        settings = {"global": {"scrape_interval": often, "scrape_timeout": often}, "scrape_configs": jobs}
        Path(folder, "prometheus.yml").write_text(json.dumps(settings))  # JSON is YAML
        log = Path(folder, "log")
        command = [
            *(sys.executable, "-c", _KEEPER, path, f"--config.file={folder}/prometheus.yml"),
            *(f"--storage.tsdb.path={folder}/data", f"--web.listen-address={HOST}:0", "--log.level=info"),
        ]
        with open(log, "wb") as file:
            keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=file, cwd=folder)
        with _closing(lambda: _let_go(keeper)):
            started = time.monotonic()
            port = None
            while time.monotonic() < started + seconds and keeper.poll() is None:
                found = re.search(
                    rf'msg="Listening on" address={re.escape(HOST)}:(\d+)', log.read_text(errors="replace")
                )
                port = int(found.group(1)) if found else None
                if port and _answers(port, "/-/ready"):
                    break
                time.sleep(0.02)
            else:
                lines = re.findall(r'err="?([^"\n]*)', log.read_text(errors="replace"))
                engines._say(f"Prometheus did not start ({lines[-1] if lines else 'no reason given'})")
                yield None
                return
            yield Prometheus(port, time.monotonic() - started)


def check_metrics(text: str) -> str | None:
    """What `promtool check metrics` finds wrong with a text ("" where all is well); None after one line if missing."""
    path = engines.program("promtool")
    if path is None:
        return None
    done = subprocess.run([path, "check", "metrics"], input=text, capture_output=True, text=True, timeout=30)
    said = (done.stdout + done.stderr).strip()
    return said if said or done.returncode == 0 else f"exit status {done.returncode}"


def load(
    port: int,
    due: Sequence[float],
    requests: Sequence[tuple[str, bytes]],
    connections: int = 64,
    seconds: float = 60.0,
) -> list[Sent]:
    """Send POST requests of JSON at given times, whatever has become of the earlier ones (open loop).

    due: ascending, in seconds from the beginning. requests: paths and bodies (UTF-8); request i is number i modulo
    their number. At most `connections` are open at once: a request that finds none free is sent late, and its latency
    still counts from the time it was due. After `seconds` in all, what is not done is given up, with the status 0.
    A process of its own sends, so that the server has this one's interpreter for itself.
    """
    texts = [(path, body.decode()) for path, body in requests]
    asked = json.dumps([port, list(due), texts, connections, seconds])
    root = str(Path(__file__).parents[1])
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))}
    command = [sys.executable, "-c", "from lsml_utils import serving; serving._load_for_another()"]
    done = subprocess.run(
        command, input=asked, capture_output=True, text=True, timeout=seconds + 60, env={**os.environ, **paths}
    )
    return [Sent(*one) for one in json.loads(done.stdout)]


def _load_for_another() -> None:
    port, due, texts, connections, seconds = json.load(sys.stdin)
    requests = [(path, body.encode()) for path, body in texts]
    found = asyncio.run(_load(port, due, lambda i: requests[i % len(requests)], connections, seconds))
    json.dump(found, sys.stdout)


def post(port: int, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    """One POST request of JSON: status, headers (names in lower case), body."""
    headers = {"content-type": "application/json"} | (headers or {})
    asked = urllib.request.Request(f"http://{HOST}:{port}{path}", data=body, headers=headers, method="POST")
    return _answer(asked)


def get(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    """One GET request: status, headers (names in lower case), body."""
    return _answer(urllib.request.Request(f"http://{HOST}:{port}{path}"))


def _answer(asked: urllib.request.Request) -> tuple[int, dict[str, str], bytes]:
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {name.lower(): value for name, value in error.headers.items()}, error.read()


async def _load(port, due, request, connections, seconds) -> list[Sent]:
    began = time.perf_counter()
    free: list = []  # connections that are open and idle: (reader, writer)
    places = asyncio.Semaphore(connections)
    results: list[Sent | None] = [None] * len(due)

    async def one(i: int) -> None:
        async with places:
            sent = time.perf_counter() - began
            status = 0
            try:
                reader, writer = free.pop() if free else await asyncio.open_connection(HOST, port)
            except OSError:
                results[i] = Sent(due[i], sent, time.perf_counter() - began, 0)
                return
            try:
                path, body = request(i)
                head = f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\n"
                writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = re.search(r"content-length: (\d+)", head)
                await reader.readexactly(int(length.group(1)) if length else 0)
                status = int(head.split(" ", 2)[1])
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                if status and "connection: close" not in head:
                    free.append((reader, writer))
                else:
                    writer.close()
            results[i] = Sent(due[i], sent, time.perf_counter() - began, status)

    async def all_of_them() -> None:
        tasks = []
        for i, when in enumerate(due):
            await asyncio.sleep(max(0.0, when - (time.perf_counter() - began)))
            tasks.append(asyncio.ensure_future(one(i)))
        await asyncio.gather(*tasks)

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(all_of_them(), seconds)
    for _, writer in free:
        writer.close()
    end = time.perf_counter() - began
    return [result or Sent(due[i], end, end, 0) for i, result in enumerate(results)]


_open: list[Callable[[], None]] = []


@contextlib.contextmanager
def _closing(close: Callable[[], None]) -> Iterator[None]:
    """Call `close` once, when the block or Python ends."""
    _open.append(close)
    try:
        yield
    finally:
        if close in _open:
            _open.remove(close)
            close()


def _end(server, thread: threading.Thread) -> None:
    server.should_exit = True
    if thread.ident is not None:
        thread.join(3)
        if thread.is_alive():  # a request that does not end
            server.force_exit = True
            thread.join(3)


def _let_go(keeper: subprocess.Popen) -> None:
    keeper.stdin.close()
    try:
        keeper.wait(5)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()


def _answers(port: int, path: str) -> bool:
    try:
        return get(port, path)[0] == 200
    except OSError:
        return False


def _close_all() -> None:
    while _open:
        with contextlib.suppress(Exception):
            _open.pop()()


atexit.register(_close_all)
