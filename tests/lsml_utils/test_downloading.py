"""Downloads against a server on localhost: whole, truncated, wrong, dead, interrupted and resumed."""

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from lsml_utils import datasets
from lsml_utils.datasets import downloaded, downloading
from lsml_utils.datasets.downloading import BLOCK, DatasetUnavailable, Remote

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server:
    """Serves one file; `requests` are the Range headers that it saw. The switches say how it misbehaves."""

    def __init__(self, content: bytes):
        self.content = content
        self.requests: list[str | None] = []
        self.break_after: list[int] = []  # bytes after which each answer in turn breaks off
        self.ranges, self.status = True, 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/files/data.bin"

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        asked = to.headers.get("Range")
        self.requests.append(asked)
        if self.status != 200:
            to.send_error(self.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        if start and start >= len(self.content):
            to.send_error(416)
            return
        body = self.content[start:]
        to.send_response(206 if start else 200)
        to.send_header("Content-Length", str(len(body)))
        if start:
            to.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        to.end_headers()
        to.wfile.write(body[: self.break_after.pop(0)] if self.break_after else body)

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("LSML_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloading.time, "sleep", lambda seconds: None)
    server = Server(CONTENT)
    yield server
    server.stop()


def remote(server, content=CONTENT) -> Remote:
    return Remote("Sample", server.url, hashlib.sha256(content).hexdigest(), len(content), "datasets.digits()")


def failure(of: Remote) -> str:
    with pytest.raises(DatasetUnavailable) as caught:
        of.fetch()
    message = str(caught.value)
    assert "\n" not in message and caught.value._render_traceback_() == [message]
    assert message.startswith("Sample cannot be downloaded: ") and message.endswith("Offline, use datasets.digits().")
    return message


def test_a_file_is_downloaded_once_and_kept(server, tmp_path, capsys):
    path = remote(server).fetch()
    assert path.read_bytes() == CONTENT and path.parent == tmp_path / "data"
    assert capsys.readouterr().out == f"Sample [{'#' * 24}] 293 KiB of 293 KiB (100%)\n"
    assert remote(server).fetch() == path
    assert server.requests == [None]
    assert [file.name for file in path.parent.iterdir()] == ["data.bin"]


def test_a_file_that_changed_on_disk_is_fetched_again(server):
    """The checksum is compared on every fetch, not only after the download."""
    path = remote(server).fetch()
    path.write_bytes(b"x" + CONTENT[1:])
    assert remote(server).fetch().read_bytes() == CONTENT
    assert server.requests == [None, None]


def test_an_interrupted_download_goes_on_where_it_stopped(server):
    server.break_after = [12 * BLOCK + 17]
    assert remote(server).fetch().read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={12 * BLOCK}-"]


def test_an_interruption_that_lasts_is_resumed_by_the_next_call(server):
    server.break_after = [12 * BLOCK, 6 * BLOCK, 0]
    message = failure(remote(server))
    assert "broke off. 144 KiB are kept: calling again goes on from there." in message
    assert remote(server).fetch().read_bytes() == CONTENT
    assert server.requests == [None, *(f"bytes={blocks * BLOCK}-" for blocks in (12, 18, 18))]


def test_a_download_that_the_user_interrupts_is_resumed(server, monkeypatch):
    class Interrupted(downloading._Progress):
        def at(self, have):
            if have > 150_000:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(downloading, "_Progress", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            remote(server).fetch()
    assert remote(server).fetch().read_bytes() == CONTENT
    assert server.requests[0] is None and int(server.requests[1].removeprefix("bytes=").rstrip("-")) > 0


def test_a_server_without_ranges_starts_again(server):
    server.ranges, server.break_after = False, [12 * BLOCK]
    assert remote(server).fetch().read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={12 * BLOCK}-"]


def test_a_truncated_file_is_told_and_not_kept_under_its_name(server, tmp_path):
    server.content = CONTENT[:-1000]
    assert "127.0.0.1" in failure(remote(server))
    assert not (tmp_path / "data" / "data.bin").exists()


def test_a_wrong_checksum_is_told_and_the_file_deleted(server, tmp_path):
    server.content = CONTENT[::-1]
    assert "does not have the right checksum, and is deleted" in failure(remote(server))
    assert list((tmp_path / "data").iterdir()) == []


def test_a_part_of_another_file_does_no_harm(server, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "data.bin.part").write_bytes(b"something else")
    assert remote(server).fetch().read_bytes() == CONTENT
    assert server.requests == ["bytes=14-", None]


def test_a_file_that_is_too_long_is_stopped_and_deleted(server, tmp_path):
    server.content = CONTENT * 4
    assert "checksum" in failure(remote(server))
    assert list((tmp_path / "data").iterdir()) == []
    server.content = CONTENT
    assert remote(server).fetch().read_bytes() == CONTENT


def test_a_dead_server_is_told_in_one_line(server):
    dead = remote(server)
    server.http.socket.close()
    server.http.shutdown()
    assert "no connection to 127.0.0.1" in failure(dead)


def test_a_connection_that_cannot_be_made_is_not_tried_again_and_again(server, monkeypatch):
    """Behind a firewall that swallows packets each try takes ten seconds."""
    import requests

    tried = []

    def times_out(*args, **kwargs):
        tried.append(args)
        raise requests.ConnectTimeout

    monkeypatch.setattr(requests, "get", times_out)
    assert "does not answer" in failure(remote(server))
    assert len(tried) == 1


def test_a_missing_file_is_told_in_one_line(server):
    server.status = 404
    assert "127.0.0.1" in failure(remote(server)) and "answers 404" in failure(remote(server))


def test_a_folder_that_cannot_be_written_is_told_in_one_line(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LSML_DATA", str(tmp_path / "file" / "below"))
    assert "LSML_DATA can name another folder" in failure(remote(server))


def test_mnist_is_read_from_its_file(server, monkeypatch):
    rng = np.random.default_rng(1)
    parts = {"x_train": (60, 28, 28), "y_train": (60,), "x_test": (10, 28, 28), "y_test": (10,)}
    arrays = {name: rng.integers(10, size=shape, dtype=np.uint8) for name, shape in parts.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    server.content = buffer.getvalue()
    monkeypatch.setattr(downloaded, "MNIST", remote(server, server.content))
    train, test = datasets.mnist(), datasets.mnist("test")
    assert np.array_equal(train.images, arrays["x_train"]) and np.array_equal(train.y, arrays["y_train"])
    assert test.images.shape == (10, 28, 28) and test.y.dtype == np.int64 and len(test.names) == 10


def test_cifar10_is_read_from_its_archive(server, monkeypatch):
    rng = np.random.default_rng(2)
    planes = {f"data_batch_{i}.bin": rng.integers(256, size=(4, 3073), dtype=np.uint8) for i in range(1, 6)}
    planes["test_batch.bin"] = rng.integers(256, size=(3, 3073), dtype=np.uint8)
    for records in planes.values():
        records[:, 0] %= 10
    files = {name: records.tobytes() for name, records in planes.items()}
    files |= {"batches.meta.txt": b"airplane\nautomobile\n\n", "readme.html": b"hello"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in sorted(files, reverse=True):  # batches in another order than their numbers
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(files[name])
            archive.addfile(info, io.BytesIO(files[name]))
    server.content = buffer.getvalue()
    monkeypatch.setattr(downloaded, "CIFAR10", remote(server, server.content))
    train, test = datasets.cifar10(), datasets.cifar10("test")
    assert train.images.shape == (20, 32, 32, 3) and test.images.shape == (3, 32, 32, 3)
    assert train.names == ("airplane", "automobile")
    second = planes["data_batch_2.bin"][1]
    assert train.y[5] == second[0]
    assert train.images[5, 7, 9].tolist() == [second[1 + c * 1024 + 7 * 32 + 9] for c in range(3)]


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_without_a_network_a_substitute_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setenv("LSML_DATA", str(tmp_path))
    monkeypatch.setattr(downloading.time, "sleep", lambda seconds: None)
    for variable in ("http_proxy", "https_proxy", "HTTPS_PROXY"):  # a port where nobody listens
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with pytest.raises(DatasetUnavailable, match=r"Offline, use datasets\.(digits|shapes)\("):
        getattr(datasets, name)()
