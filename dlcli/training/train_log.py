"""train.log of a run: everything, tracebacks included, one record per line, no escape sequence from anybody's data."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import suppress
from pathlib import Path

from dlcli.training.durable import storage

LOGGER = "dlcli"


def escaped(text: str) -> str:
    """`text` with control, invisible and direction-changing characters spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class TrainLog:
    """A logger of its own, because several runs may be under way, which writes to a file from `open` to `close`."""

    def __init__(self, path: Path):
        self.logger = logging.Logger(LOGGER)
        self._path = path
        self._file: _LogFile | None = None

    def open(self) -> None:
        with storage(self._path):
            self._file = _LogFile(self._path, encoding="utf-8", errors="backslashreplace")
        self._file.setFormatter(_Lines("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ"))
        self.logger.addHandler(self._file)

    def close(self) -> None:
        if self._file is not None:
            self.logger.removeHandler(self._file)
            with suppress(OSError):  # of a full disk the user was told already
                self._file.close()
            self._file = None


class _Lines(logging.Formatter):
    converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = escaped(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:
        return "\n".join(map(escaped, super().formatException(ei).split("\n")))


class _LogFile(logging.FileHandler):
    """A full disk must not stop training for the sake of its log: one warning, then silence."""

    def handleError(self, record: logging.LogRecord) -> None:
        self.addFilter(lambda _: False)
        reason = escaped(str(sys.exc_info()[1]))
        print(f"warning: train.log is written no further ({reason})"[:200], file=sys.stderr)
