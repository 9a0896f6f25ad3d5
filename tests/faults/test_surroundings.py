"""What happens around a run: to its data, the network, the clock, the disk, the limits, and dlcli itself."""

from __future__ import annotations

import http.server
import json
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

from tests.faults.left_behind import differences, outcome
from tests.faults.runs import COMMON, KINDS, check_resumed
from tests.faults.told import told

KIND = "batch norm and dropout"
WORDS = ["train", *KINDS[KIND], *COMMON]
STEP = "dlcli.training.loop:take_step"
YEAR = 365 * 86400


@pytest.fixture(scope="module")
def expected(unbroken):
    return outcome(unbroken(KIND)[0])


# The data (B15, B16)

TABLE = "a,b,y\n" + "".join(f"{n % 7},{n * n % 11},{'no' if n % 3 else 'yes'}\n" for n in range(60))
TEXT = "to be, or not to be: " * 60
SOURCES = {
    "table": ("t.csv", TABLE, ["dataset=csv", "model=mlp"]),
    "text": ("t.txt", TEXT, ["dataset=text", "dataset.window=8", "model=rnn"]),
}
HARM = {
    "vanishes": lambda path: path.unlink(),
    "is cut": lambda path: path.write_bytes(path.read_bytes()[:400]),
    # As many tokens as before: only their meaning has moved.
    "means something else": lambda path: path.write_bytes(path.read_bytes().replace(b"o", b"z")),
}


@pytest.mark.faults
@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("source", SOURCES)
def test_data_that_change_under_a_run(warm, tmp_path, source, harm):
    """The run that has read them ends as if nothing were; none goes on with them later."""
    name, content, words = SOURCES[source]
    words = ["train", *words, f"dataset.path={name}", "training.steps=12", "training.batch_size=10", *COMMON]
    (tmp_path / name).write_text(content)
    assert warm.run(*words, "run_dir=undisturbed", cwd=tmp_path).code == 0
    process = warm.start(*words, "run_dir=run", cwd=tmp_path, function=[STEP, 6, 0.5])
    process.wait_for("asleep")
    HARM[harm](tmp_path / name)
    assert process.wait().code == 0
    assert not differences(outcome(tmp_path / "run"), outcome(tmp_path / "undisturbed"))
    ended = warm.run("resume", "run", "training.steps=20", cwd=tmp_path)
    told(ended, 3 if harm == "vanishes" else 4, name if harm == "vanishes" else "data")
    (tmp_path / name).write_text(content)
    assert warm.run("resume", "run", "training.steps=20", cwd=tmp_path).code == 0


# The network (B17)

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


# The file system (C21, C23)


@pytest.mark.faults
def test_a_disk_that_takes_seconds_is_told(warm, expected, tmp_path):
    folder = tmp_path / "run"
    ended = warm.run(*WORDS, f"run_dir={folder}", function=["dlcli.training.checkpoint:save", 3, 6])
    assert ended.code == 0 and "warning: saving step-000000012 took 6 s: the disk is slow" in ended.out
    assert not differences(outcome(folder), expected)


def test_a_file_system_without_locks(warm, expected, tmp_path):
    """A file stands in for the lock. It outlives a kill, and the hint says which one to delete."""
    folder, stand_in, no_locks = tmp_path / "run", tmp_path / "run" / "run.lock.exclusive", ["fcntl:flock", 1, "ENOLCK"]
    process = warm.start(*WORDS, f"run_dir={folder}", function=no_locks)
    process.wait_for("epoch 2 ")
    process.send(signal.SIGSTOP)
    told(warm.run("resume", folder, function=no_locks), 9, f"in use by process {process.pid}", str(stand_in)[-60:])
    process.send(signal.SIGKILL)
    process.wait()
    told(warm.run("resume", folder, function=no_locks), 9, f"in use by process {process.pid}")
    stand_in.unlink()
    assert warm.run("resume", folder, function=no_locks).code == 0
    assert not differences(outcome(folder), expected) and not stand_in.exists()


# The process (D6, D11)


@pytest.mark.faults
def test_a_run_that_was_frozen_for_a_minute(warm, expected, tmp_path):
    process = warm.start(*WORDS, f"run_dir={tmp_path / 'run'}")
    process.wait_for("epoch 2 ")
    process.send(signal.SIGSTOP)
    time.sleep(60)
    process.send(signal.SIGCONT)
    assert process.wait().code == 0
    assert not differences(outcome(tmp_path / "run"), expected)


def test_a_system_without_room_for_a_thread(warm, expected, tmp_path):
    folder = tmp_path / "run"
    told(warm.run(*WORDS, f"run_dir={folder}", no_threads=True), 6, "thread", "ulimit")
    check_resumed(warm, folder, expected)


# The clock (D12)


@pytest.mark.faults
@pytest.mark.parametrize("errors", [[-YEAR, YEAR], [-56 * YEAR]], ids=["jumps", "1970"])
def test_a_wall_clock_that_is_wrong(warm, expected, tmp_path, errors):
    folder = tmp_path / "run"
    ended = warm.run(*WORDS, f"run_dir={folder}", clock=errors, function=[STEP, 30, "MemoryError"])
    assert ended.code == 7
    assert warm.run("resume", folder, clock=[error - YEAR for error in errors]).code == 0
    assert not differences(outcome(folder), expected)
    named = {warm.start(*WORDS, "training.epochs=1", cwd=tmp_path, clock=errors).wait().code for _ in range(2)}
    assert named == {0} and len(list((tmp_path / "outputs").glob("*/*/config.yaml"))) == 2


# Another dlcli (D18)


@pytest.fixture
def older(warm, tmp_path):
    """A run that a memory shortage has stopped at step 29."""
    folder = tmp_path / "run"
    assert warm.run(*WORDS, f"run_dir={folder}", function=[STEP, 30, "MemoryError"]).code == 7
    return folder


def test_an_upgrade_is_told(warm, older, expected):
    notes = json.loads((older / "environment.json").read_text())
    (older / "environment.json").write_text(json.dumps(notes | {"dlcli": "0.0.1"}))
    ended = warm.run("resume", older)
    assert ended.code == 0 and "warning: dlcli: 0.0.1, now " in ended.out
    assert not differences(outcome(older), expected)


def test_settings_of_another_version_are_refused_with_both_versions(warm, older):
    notes = json.loads((older / "environment.json").read_text())
    (older / "environment.json").write_text(json.dumps(notes | {"dlcli": "0.0.1"}))
    before = (older / "config.yaml").read_text()
    for other in (before.replace("  average: null\n", ""), before.replace("training:\n", "training:\n  novel: 1\n")):
        assert other != before
        (older / "config.yaml").write_text(other)
        told(warm.run("resume", older), 4, "written by dlcli 0.0.1")
    (older / "config.yaml").write_text(before)
    assert warm.run("resume", older).code == 0
