"""dlcli's own `fit`, whole (gradient norm, checks, running means, log points), without evaluation and checkpoints.

DLCLI_SETTINGS adds settings, separated by spaces: training.precision=bf16.
"""

import os
from pathlib import Path

from serve import serve
from tasks import overrides

from dlcli import build, config
from dlcli.training import device, loop
from dlcli.training.run import State
from dlcli.training.signals import Stop


class Last:
    """A console and a journal that keep the last loss."""

    def advance(self, step, loss, samples_per_second):
        self.loss = loss

    def ignore(self, *_):
        pass

    evaluated = log = scalar = image = flush = ignore


def prepare(task, inputs, targets, clock):
    settings = overrides(task, Path(os.environ["DLCLI_DATA"])) + os.environ.get("DLCLI_SETTINGS", "").split()
    device.keep_memory()
    run, seen = build.build(config.load_checked(settings)), Last()
    loop.measure, loop.Saver.save = lambda *_: False, lambda *_: None

    def advance(steps):
        run.state, run.steps = State(), steps
        with clock.running():
            loop.fit(run, Path(), {}, seen, seen, Stop())
        return seen.loss

    return advance


if __name__ == "__main__":
    serve(prepare, "dlcli-train", "torch")
