"""Overrides as they are typed, `model=cnn optimizer.lr=0.1 ~schedule`, read by Hydra's own grammar and sorted."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override as HydraOverride
from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException

from dlcli.config.yaml_file import foreign_interpolation
from dlcli.errors import UsageError
from dlcli.registry import FOLDERS

GROUPS = (*FOLDERS, "experiment", "hydra/launcher", "hydra/sweeper")
HYDRA_KEYS = ("hydra.launcher", "hydra.sweeper", "hydra.verbose")
HYDRA_HINTS = {
    "hydra.run": "run_dir=DIR or output_root=DIR sets where a run goes",
    "hydra.sweep": "run_dir=DIR or output_root=DIR sets where a sweep goes",
    "hydra.mode": "-m starts a sweep",
    "hydra.job": "name=WORD names a run",
    "hydra.searchpath": "--config-dir DIR adds a folder of configs",
}
MAX_JOBS = 10_000
GROUPED = re.compile(r"[+-]?\d[\d.]*_[\d_.]*([eE][+-]?\d+)?")  # 1_000, which Python and YAML 1.1 take for 1000
SEPARATORS = re.compile(r"[\s,:()\[\]{}]+")


class Override(NamedTuple):
    """One override. `text` is canonical: `+key=v`, `++key=v` and `key=v` mean the same to dlcli."""

    key: str
    text: str
    parsed: HydraOverride

    @property
    def is_choice(self) -> bool:
        """Picks an option of a group, `model=cnn`, and is therefore Hydra's to compose."""
        return self.key in GROUPS and not isinstance(self.parsed.value(), dict)

    @property
    def is_value(self) -> bool:
        return not self.is_choice and not self.is_sweep

    @property
    def is_hydra(self) -> bool:
        return self.key.startswith(("hydra.", "hydra/"))

    @property
    def is_sweep(self) -> bool:
        return self.parsed.is_sweep_override()

    @property
    def is_pattern(self) -> bool:
        """Sweeps over the options that match `glob(...)`."""
        return self.is_sweep and self.parsed.value_type is ValueType.GLOB_CHOICE_SWEEP


def parse(texts: Iterable[str]) -> list[Override]:
    """The overrides of a command line; UsageError for one that cannot be read or is not the user's to set."""
    return [_parse(text) for text in texts]


@cache
def _parse(text: str) -> Override:
    try:
        parsed = OverridesParser.create().parse_override(text)
        parsed.value()
    except (HydraException, ValueError, RecursionError) as fault:
        reason = str(fault).splitlines()[0]
        raise UsageError(
            f"cannot read the override {text!r}: {reason}",
            "write key=value; put a value with = , : or spaces in quotes",
        ) from None
    key = parsed.key_or_group
    if foreign_interpolation(text):
        raise UsageError(
            f"override {key}: interpolation with a resolver",
            "only references to keys of the config, such as '${training.epochs}'",
        )
    if grouped := next(filter(GROUPED.fullmatch, SEPARATORS.split(text.partition("=")[2])), None):
        raise UsageError(
            f"override {key}: {grouped} reads as a number",
            f"write {grouped.replace('_', '')}, or quote it for the text",
        )
    if parsed.package is not None:
        raise UsageError(f"override {text!r} moves a group with @", f"write {key}=... without @{parsed.package}")
    if key.split(".")[0].split("/")[0] == "hydra" and key not in GROUPS:
        _check_hydra_key(key)
    for group in FOLDERS:
        if key == f"{group}.name":
            raise UsageError(f"{key} cannot be set alone", f"choose with {group}=NAME")
    if key in GROUPS and parsed.value() is None and not parsed.is_delete():
        return _parse(f"~{key}")  # `experiment=null` leaves the group out
    return Override(key, text if parsed.is_delete() else text.lstrip("+"), parsed)


def _check_hydra_key(key: str) -> None:
    if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in HYDRA_KEYS):
        raise UsageError(f"{key!r} is not yours to set", hydra_hint(key))


def hydra_hint(key: str) -> str:
    """What to do instead of setting a key of Hydra's own node."""
    known = (hint for prefix, hint in HYDRA_HINTS.items() if f"{key}.".startswith(f"{prefix}."))
    return next(known, f"of Hydra's own settings only {', '.join(HYDRA_KEYS)} can be set")


def choices(override: Override) -> list[str]:
    """The options that a choice names, one unless it is swept over; patterns (`glob`) are left to Hydra."""
    value = override.parsed.value()
    if override.parsed.is_delete() or value is None or override.is_pattern:
        return []
    if override.is_sweep:
        value = _values(override)
    return [str(option) for option in (value if isinstance(value, list) else [value])]


def keys(override: Override) -> list[str]:
    """The dotted keys that an override sets: `training={steps: 9}` sets `training.steps`."""

    def below(name: str, value: Any) -> list[str]:
        if isinstance(value, dict):
            return [key for part, item in value.items() for key in below(f"{name}.{part}", item)]
        return [name]

    return below(override.key, override.parsed.value())


def points(override: Override) -> int:
    """How many values an override sweeps over, counted no further than the greatest legal sweep."""
    if not override.is_sweep:
        return 1
    return len(_values(override))


def _values(override: Override) -> list[Any]:
    """The values of a sweep, one more than is legal at most."""
    if not override.parsed.is_discrete_sweep():
        raise UsageError(f"cannot list the values of {override.text!r}", "give them: key=0.1,0.2 or key=range(1,5)")
    return list(itertools.islice(override.parsed.sweep_iterator(), MAX_JOBS + 1))
