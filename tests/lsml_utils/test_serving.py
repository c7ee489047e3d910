"""Servers for demo cells: they answer, what is missing says one line, and nothing is left running."""

import os
import subprocess
import sys
import threading
import time
from importlib.util import find_spec

import psutil
import pytest

from lsml_utils import engines, serving

needs_uvicorn = pytest.mark.skipif(find_spec("uvicorn") is None, reason="uvicorn is not installed")
PROMETHEUS = os.path.exists(os.path.join(os.path.dirname(sys.executable), "prometheus"))
needs_prometheus = pytest.mark.skipif(not PROMETHEUS, reason="Prometheus is not unpacked: make setup EXTRAS=serve")


async def app(scope, receive, send):
    """Echoes a POST; /metrics has one counter; /slow never answers."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    if scope["path"] == "/slow":
        import asyncio

        await asyncio.sleep(60)
    text = b"# TYPE x_total counter\nx_total 3\n" if scope["path"] == "/metrics" else body
    headers = [(b"content-length", str(len(text)).encode()), (b"content-type", b"text/plain; version=0.0.4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def listens(port):
    try:
        serving.get(port, "/")
    except OSError:
        return False
    return True


def left_over():
    """Programs and threads of ours that still run."""
    children = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    threads = [thread.name for thread in threading.enumerate() if thread.name == "uvicorn"]
    return [line for line in children if "prometheus" in line] + threads


@needs_uvicorn
def test_servers_answer_and_end_with_their_block():
    with serving.serve(app) as one, serving.serve(app) as other:
        assert one != other
        assert serving.post(one, "/x", b"hello")[::2] == (200, b"hello") and listens(other)
    assert not listens(one) and not listens(other) and left_over() == []


@needs_uvicorn
def test_an_error_in_the_block_stops_the_server():
    with pytest.raises(ZeroDivisionError), serving.serve(app) as port:
        1 / 0  # noqa: B018
    assert not listens(port) and left_over() == []


@needs_uvicorn
def test_a_request_that_does_not_end_does_not_keep_the_server():
    with serving.serve(app) as port:
        asker = threading.Thread(target=lambda: serving.load(port, [0.0], [("/slow", b"")], seconds=30))
        asker.start()
        time.sleep(3)
    assert not listens(port)
    asker.join(30)
    assert not asker.is_alive() and left_over() == []


@needs_uvicorn
def test_an_open_loop_counts_from_when_a_request_was_due():
    due = [0.02 * i for i in range(50)]
    with serving.serve(app) as port:
        sent = serving.load(port, due, [("/x", b"a"), ("/x", b"b")])
        late = serving.load(port, [0.0] * 5, [("/x", b"")], connections=1)
    assert [one.due for one in sent] == due and {one.status for one in sent + late} == {200}
    assert all(one.due <= one.sent <= one.done for one in sent)
    assert sorted(late, key=lambda one: one.sent)[-1].sent >= min(one.done for one in late)
    gone = serving.load(port, [0.0, 0.01], [("/x", b"")])
    assert [one.status for one in gone] == [0, 0]


@needs_uvicorn
@needs_prometheus
def test_prometheus_scrapes_and_ends():
    with serving.serve(app) as port, serving.prometheus({"a": port}, interval=0.5) as watcher:
        assert watcher.wait("x_total", 3, seconds=60)
        (series,) = watcher.query("x_total")
        assert series["metric"]["job"] == "a" and watcher.number("nothing") != watcher.number("nothing")
        processes = psutil.Process().children(recursive=True)
        assert any("prometheus" in process.name() for process in processes)
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not [process for process in alive if process.is_running() and "prometheus" in process.name()]
    assert left_over() == []


@needs_prometheus
def test_prometheus_ends_with_a_python_that_is_killed():
    code = (
        "import os, signal, psutil\nfrom lsml_utils import serving\n"
        "with serving.prometheus({}) as watcher:\n"
        "    print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    until = time.monotonic() + 20
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
        assert time.monotonic() < until, "still running"
        time.sleep(0.1)


@needs_prometheus
def test_promtool_judges_a_text():
    assert serving.check_metrics("# HELP a_total b\n# TYPE a_total counter\na_total 3\n") == ""
    assert serving.check_metrics('a_total{x="y} 3\n')


def test_what_is_missing_says_one_line(monkeypatch, capsys):
    monkeypatch.setattr(engines, "library", lambda name: print(f"{name} is missing"))
    monkeypatch.setattr(engines, "program", lambda name: print(f"{name} is missing"))
    with serving.serve(app) as port, serving.prometheus({"a": 1}) as watcher:
        assert port is None and watcher is None
    assert serving.check_metrics("") is None
    assert capsys.readouterr().out == "uvicorn is missing\nprometheus is missing\npromtool is missing\n"
