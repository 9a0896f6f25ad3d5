"""dlcli: train deep networks from YAML configs and read why the test error is what it is.

From Python, `dlcli.train` and `dlcli.load` do what the command line does; importing dlcli imports nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlcli.trained import Trained

__version__ = "0.1.0"


def train(
    overrides: Sequence[str] = (),
    *,
    config_dir: str | Path | None = None,
    plugins: Sequence[str] = (),
    quiet: bool = False,
) -> dict[str, Any]:
    """The run of `dlcli train OVERRIDES`, as in `dlcli.train(["model=cnn", "seed=1"])`.

    Returns what summary.json holds: risks, decomposition, warnings, and under ["run"]["path"] the run directory.
    Raises an error of dlcli.errors where the command would print one.
    """
    from dlcli import config as configs
    from dlcli.registry import load_plugins

    load_plugins(plugins)
    config = configs.load_checked(list(overrides), None if config_dir is None else Path(config_dir))
    from dlcli import session
    from dlcli.training.progress import ProgressDisplay
    from dlcli.training.signals import Stop

    with Stop() as stop:
        return session.train(config, ["dlcli", "train", *overrides], stop, ProgressDisplay(lines=not quiet))


def load(run_dir: str | Path, *, checkpoint: str = "last", plugins: Sequence[str] = ()) -> Trained:
    """The model of a run with verified weights, in evaluation mode, and its data spec: `model, spec, step`.

    The data set is read again: it gives the shapes and the scale of the inputs, and must be the one of the run.
    checkpoint: "last", or "best" by validation risk. Raises CheckpointError where no checkpoint is usable.
    """
    from dlcli.registry import load_plugins
    from dlcli.verbs.arguments import saved_config

    load_plugins(plugins)
    config = saved_config(Path(run_dir))
    from dlcli.trained import trained

    return trained(Path(run_dir).absolute(), config, checkpoint)
