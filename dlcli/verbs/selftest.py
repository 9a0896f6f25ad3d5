"""`dlcli selftest`: the estimator and the whole program against problems whose answer is known."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="draws other problems; a failure should not depend on it")


def run(arguments: Namespace) -> int:
    from dlcli import rehearsals
    from dlcli.decomposition import selftest

    started, failed, total = time.perf_counter(), 0, 0
    for outcome in selftest.outcomes(arguments.seed, {**selftest.CHECKS, **rehearsals.CHECKS}):
        print(selftest.line(outcome), flush=True)
        failed, total = failed + (not outcome.passed), total + 1
    print(f"{total - failed} of {total} passed in {time.perf_counter() - started:.0f} s")
    return 1 if failed else 0
