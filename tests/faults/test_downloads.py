"""Downloads: a network that is absent, refuses, lies or breaks off, and two processes that want one set (B17, B18)."""

from __future__ import annotations

import http.server
import random
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from hashlib import sha256

import pytest

from tests.faults.told import told

# A network that does not answer (B17)

ANSWERS = {
    "refuses": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    "shows a page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>please log in</html>",
    "hangs up": b"",
    "speaks something else": b"\x00\xff" * 500,
}


@contextmanager
def proxy(answer):
    """A server that answers like this to whoever connects."""

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.short("fashion_mnist-refuses")
@pytest.mark.parametrize("answer", [*ANSWERS, "is not there"])
@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_a_network_that(warm, tmp_path, name, answer):
    with proxy(ANSWERS.get(answer, b"")) as address:
        address = "http://127.0.0.1:1" if answer == "is not there" else address
        environment = {"https_proxy": address, "HTTPS_PROXY": address, "no_proxy": "", "DLCLI_CACHE": str(tmp_path)}
        process = warm.start("train", f"dataset={name}", "model=cnn", env=environment)
        told(process.wait(60), 3, "cannot download 'https://", "dataset.root=")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]
    assert not (process.room / "outputs").exists()


# A network that answers (B17, B18)

FILES = {"inputs.bin": random.Random(0).randbytes(200 * 5000), "targets.bin": bytes(range(200))}
HOST = "data.example"
PLUGIN = f'''
import numpy as np
from dlcli.datasets.official import Official, locate
from dlcli.protocols import Examples, Source
from dlcli.registry import register

FILES = [Official(name, "https://{HOST}/" + name, *pinned) for name, pinned in {{}}.items()]

@register("dataset", "published")
def published(*, root: str | None) -> Source:
    """A set of two files."""
    def present(folder):
        paths = [folder / file.name for file in FILES]
        return paths if all(path.is_file() for path in paths) else None

    inputs, targets = (np.frombuffer(path.read_bytes(), np.uint8) for path in locate("published", present, FILES, root))
    train = Examples(inputs.reshape(200, -1).astype(float), targets % 3)
    return Source(train, None, None, ("a", "b", "c"), origin="the network")
'''


@pytest.fixture
def published(tmp_path):
    """Words that prepare a set which must be downloaded, by a plugin."""
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    (tmp_path / "conf" / "dataset" / "published.yaml").write_text("name: published\nroot: null\n")
    pinned = {name: (len(body), sha256(body).hexdigest()) for name, body in FILES.items()}
    (tmp_path / "published.py").write_text(PLUGIN.replace("{}", repr(pinned)))
    return ["data", "prepare", "published", "--plugin", tmp_path / "published.py"]


@contextmanager
def publisher(room, answer):
    """A proxy that plays the server of those files; `answer` has the body of one, and says what is sent. Yields the
    names that were asked for, and the environment of a command that trusts it."""
    key, certificate, asked = room / "key", room / "certificate", []
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Publisher(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self):  # the name is http.server's
            self.send_response(200)
            self.end_headers()
            with suppress(OSError, ssl.SSLError), context.wrap_socket(self.connection, server_side=True) as tunnel:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += tunnel.recv(4096)
                name = request.split()[1].decode().rpartition("/")[2]
                asked.append(name)
                tunnel.sendall(answer(FILES[name]))
            self.close_connection = True

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Publisher) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield asked, {"https_proxy": address, "no_proxy": "", "SSL_CERT_FILE": str(certificate)}
        finally:
            server.shutdown()
            thread.join()


def whole(body):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


SENT = {
    "cut": lambda body: whole(body)[: len(body) // 2],
    "one bit changed": lambda body: whole(body[:-9] + bytes([body[-9] ^ 1]) + body[-8:]),
    "too long": lambda body: whole(body + b"more"),
    "404": lambda body: b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "elsewhere, in the clear": lambda body: b"HTTP/1.1 302 Found\r\nLocation: http://localhost/x\r\n\r\n",
}
with_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


@with_openssl
@pytest.mark.short("one bit changed")
@pytest.mark.parametrize("sent", SENT)
def test_a_download_that_is(warm, published, tmp_path, sent):
    cache = tmp_path / "cache"
    with publisher(tmp_path, SENT[sent]) as (asked, environment):
        ended = warm.run(*published, env=environment | {"DLCLI_CACHE": str(cache)})
    told(ended, 3, "cannot download 'https://", "dataset.root=")
    assert asked == ["inputs.bin"]
    assert [path.name for path in cache.rglob("*") if path.is_file()] == [".lock"]


@with_openssl
def test_two_processes_that_want_one_set_fetch_it_once(warm, published, tmp_path):
    """A third was killed before, with the lock and a part of a file in its hands."""
    cache, gate = tmp_path / "cache", threading.Event()

    def slowly(body):
        gate.wait(60)
        return whole(body)

    with publisher(tmp_path, slowly) as (asked, environment):
        environment |= {"DLCLI_CACHE": str(cache)}
        killed = warm.start(*published, env=environment)
        until = time.monotonic() + 60
        while not asked:
            assert time.monotonic() < until, killed.err
            time.sleep(0.01)
        killed.send(signal.SIGKILL)
        killed.wait()
        both = [warm.start(*published, env=environment) for _ in range(2)]
        gate.set()
        for process in both:
            ended = process.wait()
            assert ended.code == 0, ended
    assert sorted(asked) == ["inputs.bin", "inputs.bin", "targets.bin"]
    kept = {path.name: path.read_bytes() for path in cache.rglob("*") if path.is_file() and path.name != ".lock"}
    assert kept == FILES
