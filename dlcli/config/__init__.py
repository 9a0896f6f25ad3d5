"""From argv to a checked config, a plain dict. Hydra and OmegaConf stay in this room, and torch outside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlcli.config import check as checks
from dlcli.config import composition


def load_checked(overrides: Sequence[str], config_dir: Path | None = None) -> dict[str, Any]:
    """The config that a command line describes. UsageError names every mistake in it, `hint` the most likely cure."""
    composed = composition.compose(overrides, config_dir)
    config = composition.plain(composed.config)
    checks.refuse(checks.check(config, composed.places))
    return checks.cast(config)
