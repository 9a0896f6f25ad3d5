"""A data set read from its files while torch is imported: unpacking, decoding and hashing need a core but no Python."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from dlcli import registry
from dlcli.protocols import Source
from dlcli.settings import Preparation


def read_source(section: dict[str, Any]) -> Source:
    """section: `dataset` of a checked config."""
    settings = {name: value for name, value in section.items() if name not in Preparation._fields}
    return registry.build("dataset", settings, seed=section["seed"])


class Ahead:
    """`read_source` of one section, begun at once in a thread that nothing waits for but who wants what it finds."""

    def __init__(self, section: dict[str, Any]):
        self._found: Future[Source] | None = Future()
        try:
            threading.Thread(target=self._read, args=(section, self._found), name="data", daemon=True).start()
        except RuntimeError:  # the system has no room for another thread: it is read when it is asked for
            self._found = None

    @staticmethod
    def _read(section: dict[str, Any], found: Future[Source]) -> None:
        try:
            found.set_result(read_source(section))
        except BaseException as fault:
            found.set_exception(fault)

    def __call__(self, section: dict[str, Any]) -> Source:
        """What was found, or raised, for whoever asks first: it is not kept. Whoever comes later reads anew."""
        found, self._found = self._found, None
        return read_source(section) if found is None else found.result()
