"""argv -> verb -> exit code. The only place that prints an error."""

from __future__ import annotations

import argparse
import atexit
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from dlcli import __version__, verbs
from dlcli.errors import DlcliError, StorageError, UsageError
from dlcli.training.durable import FULL
from dlcli.verbs import SECTIONS, VERBS

INTERNAL = 1
LONGEST = 200  # characters of a line of an error
EXAMPLES = """
examples:
  dlcli train                                   the default: an MLP on MNIST-1D, half a minute
  dlcli train model=cnn optimizer=adam seed=1   choose parts and set values: GROUP=NAME, GROUP.SETTING=VALUE
  dlcli train -m model=mlp,cnn seed='range(3)'  a sweep: every combination, one report
  dlcli list models                             what there is, with settings

`dlcli VERB --help` explains a verb. A folder ./conf comes before the packaged configuration."""


def program() -> NoReturn:
    """`main` as a process of its own."""
    codes: list[int] = []
    atexit.register(vanish, codes)  # the first to be registered is the last to be called
    codes.append(main())
    sys.exit(codes[0])


def vanish(codes: Sequence[int]) -> None:
    """End at once, without taking apart what is in memory: the modules of torch alone would last a sixth of a second.

    codes: of the program, once it has one.
    """
    with suppress(OSError, ValueError):  # where the output cannot be written the interpreter says so, and ends in 120
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        if codes:
            os._exit(codes[0])


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code (see dlcli/errors.py)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = dispatch(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except DlcliError as error:
        if os.environ.get("DLCLI_DEBUG"):
            traceback.print_exc()
        tell(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        tell("stopped at once", "the last checkpoint is intact; continue with: dlcli resume RUN_DIR")
        return 130
    except BrokenPipeError:  # who reads our output has gone
        leave_output()
        return 0
    except Exception as error:
        # Where a file has no room, `durable.storage` has said so; what comes here nameless is a stream.
        if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
            leave_output()
            tell(f"cannot write the output: {error.strerror}", "free some space, or send it elsewhere")
            return StorageError.exit_code
        if os.environ.get("DLCLI_DEBUG"):
            traceback.print_exc()
        place = traceback.extract_tb(error.__traceback__)[-1]
        tell(
            f"internal error: {type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})",
            "this is a bug in dlcli; train.log of the run has the traceback, DLCLI_DEBUG=1 prints it",
        )
        return INTERNAL


def dispatch(arguments: list[str]) -> int:
    refuse_deleted_folder()
    verb = next((argument for argument in arguments if argument in VERBS), None)
    words = [argument for argument in arguments if not argument.startswith("-")]
    if verb is None or words[0] != verb:
        return without_verb(arguments, words)
    arguments.remove(verb)
    module = verbs.module(verb)
    parser = Parser(prog=f"dlcli {verb}", description=VERBS[verb], formatter_class=argparse.RawDescriptionHelpFormatter)
    module.add_arguments(parser)
    return module.run(parser.parse_intermixed_args(arguments))


def refuse_deleted_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise StorageError(
            "the folder that this command runs in does not exist any more", "change to one that does"
        ) from error


def without_verb(arguments: list[str], words: list[str]) -> int:
    if "--version" in arguments:
        print(f"dlcli {__version__}")
        return 0
    if words:
        from dlcli.config.names import nearest

        guess = "train" if "=" in words[0] else nearest(words[0], VERBS)
        meant = f"did you mean `dlcli {guess}`? " if guess else ""
        raise UsageError(f"unknown verb {words[0]!r}", f"{meant}verbs: {', '.join(VERBS)}")
    unknown = [argument for argument in arguments if argument not in ("-h", "--help")]
    if unknown:
        raise UsageError(f"unknown flag {unknown[0]!r} without a verb", f"verbs: {', '.join(VERBS)}")
    print("usage: dlcli VERB ...\n\nTrain deep networks and read why the test error is what it is.\n")
    for section, meanings in SECTIONS.items():
        print(f"{section}:")
        for verb, meaning in meanings.items():
            print(f"  {verb:<10} {meaning}")
    print(EXAMPLES)
    return 0


class Parser(argparse.ArgumentParser):
    """argparse with errors of our kind; flags may stand anywhere on the line."""

    def __init__(self, **settings: object):
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        from dlcli.config.names import nearest

        flags = [flag for action in self._actions for flag in action.option_strings]
        unknown = next((word for word in message.split() if word.startswith("-")), None)
        guess = nearest(unknown.split("=")[0], flags) if unknown else None
        meant = f"did you mean '{guess}'? " if guess else ""
        raise UsageError(message, f"{meant}`{self.prog} --help` shows what it takes")


def tell(message: str, hint: str) -> None:
    """One `error:` line (further lines list several problems) and one `hint:` line on stderr."""
    text = "\n".join(map(shorten, f"error: {message}".split("\n")))
    if hint:
        text += "\n" + shorten(f"hint: {hint}".replace("\n", " "))
    with suppress(OSError, ValueError):  # stderr may be closed
        print(text, file=sys.stderr, flush=True)


def shorten(line: str) -> str:
    """At most 200 characters, with control and direction-changing ones spelled out."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 3]}..."


def leave_output() -> None:
    """Nobody takes it: what is still buffered must not fail again at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    program()
