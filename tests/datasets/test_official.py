"""Finding and downloading official files, against a server on this machine that misbehaves in every known way."""

import hashlib
import multiprocessing
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dlcli.datasets import official
from dlcli.datasets.official import Official, download, locate
from dlcli.errors import DataError, StorageError

CONTENT = bytes(range(256)) * 2000
SCHEMES = ("http",)


class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        kind = self.path[1:]
        if kind == "absent":
            return self.send_error(404)
        if kind == "moved":
            return self.answer(b"", 302, Location="/good")
        if kind == "elsewhere":
            return self.answer(b"", 302, Location="ftp://127.0.0.1/good")
        bodies = {"page": b"<html>log in</html>", "changed": CONTENT[:-1] + b"x", "longer": CONTENT + b"x"}
        body = bodies.get(kind, CONTENT)
        self.answer(body[: len(body) // 2] if kind == "cut" else body, length=len(body))

    def answer(self, body, status=200, length=None, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(length or len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def file(server, kind="good"):
    address = f"http://127.0.0.1:{server.server_address[1]}/{kind}"
    return Official("data.bin", address, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@pytest.mark.parametrize("kind", ["good", "moved"])
def test_a_file_is_fetched_once_and_checked(server, tmp_path, kind):
    path = download(file(server, kind), tmp_path / "new", SCHEMES)
    assert path.read_bytes() == CONTENT
    asked = len(server.asked)
    assert download(file(server, kind), tmp_path / "new", SCHEMES) == path and len(server.asked) == asked


FAULTS = {
    "absent": "the server answered 404",
    "cut": "cannot download",
    "page": "got 19 of 512000 bytes",
    "changed": "sha256 is",
    "longer": "or more of 512000 bytes",
    "elsewhere": "redirected to ftp",
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_failed_download_leaves_nothing_and_says_how_to_go_on(server, tmp_path, kind):
    with pytest.raises(DataError, match=FAULTS[kind]) as caught:
        download(file(server, kind), tmp_path, SCHEMES)
    assert "http://127.0.0.1" in caught.value.message and len(caught.value.message) <= 200
    assert "dataset.root" in caught.value.hint and len(caught.value.hint) <= 200
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert download(file(server), tmp_path, SCHEMES).read_bytes() == CONTENT


def test_plain_http_is_not_fetched_by_default(server, tmp_path):
    with pytest.raises(DataError, match="only https addresses are fetched"):
        download(file(server), tmp_path)
    assert not server.asked


def test_no_network_is_one_error(tmp_path, server):
    unreachable = file(server)._replace(url="http://127.0.0.1:1/good")
    with pytest.raises(DataError, match="cannot download"):
        download(unreachable, tmp_path, SCHEMES)


def test_processes_that_want_the_same_file_fetch_it_once(server, tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=download, args=(file(server), tmp_path, SCHEMES)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "data.bin").read_bytes() == CONTENT and server.asked == ["/good"]


def test_a_cache_that_cannot_be_written_is_a_storage_error(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write") as caught:
        download(file(server), tmp_path / "file", SCHEMES)
    assert "DLCLI_CACHE" in caught.value.hint


def test_the_cache_is_looked_at_before_the_network(tmp_path, monkeypatch):
    monkeypatch.setenv("DLCLI_CACHE", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "data.bin").touch()
    published = [Official("data.bin", "https://nowhere.invalid/data.bin", 0, "")]

    def present(folder):
        return [folder / "data.bin"] if (folder / "data.bin").is_file() else None

    assert locate("mine", present, published, None) == [tmp_path / "mine" / "data.bin"]
    with pytest.raises(DataError, match="no official files of mine"):
        locate("mine", present, published, str(tmp_path))


def test_what_is_missing_is_downloaded_into_the_cache(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DLCLI_CACHE", str(tmp_path))
    monkeypatch.setattr(official.download, "__defaults__", (SCHEMES,))

    def present(folder):
        return [folder / "data.bin"] if (folder / "data.bin").is_file() else None

    assert locate("mine", present, [file(server)], None) == [tmp_path / "mine" / "data.bin"]
