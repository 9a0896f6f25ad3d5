"""The readers of `test_fuzzing` under a fuzzer that is led by the coverage of dlcli's own code (`pip install atheris`).

Run: python -m tests.faults.fuzz FORMAT [-max_total_time=60] [further options of libFuzzer]
Every input is read, or refused as a DlcliError; anything else ends the run, and the input stays as crash-* here.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dlcli"]):
    from dlcli.errors import DlcliError
    from tests.faults.test_fuzzing import FORMATS


def main() -> None:
    name, *options = sys.argv[1:]
    build, read = FORMATS[name]
    with tempfile.TemporaryDirectory() as folder:
        room, corpus = Path(folder, "room"), Path(folder, "corpus")
        room.mkdir()
        corpus.mkdir()
        (corpus / "valid").write_bytes(build())

        def once(content: bytes) -> None:
            with suppress(DlcliError):
                read(content, room)

        atheris.Setup([sys.argv[0], *options, str(corpus)], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
