"""What the measures of drawn examples say, where there is no risk to take apart: lost modes, quality, variety."""

from __future__ import annotations

from collections.abc import Mapping

REMEDY = "a gradient penalty (task.penalty), packing (model.pack) or slower training usually bring modes back"
POOR = 0.5  # share of what real examples reach, below which something is missing


def judge_drawn(drawn: Mapping[str, float], real: Mapping[str, float]) -> str:
    """One sentence on each measure that has a verdict, by name as in the report; "" where none is there.

    real: the same measures of training examples, which is what can be reached.
    """
    return " ".join([*of_modes(drawn, real), *of_variety(drawn, real)])


def of_modes(drawn: Mapping[str, float], real: Mapping[str, float]) -> list[str]:
    if "modes" not in drawn:
        return []
    reached, modes = round(drawn["modes"]), round(real["modes"])
    if reached >= modes:
        found = [f"All {modes} modes are reached."]
    elif reached > POOR * modes:
        found = [f"{modes - reached} of {modes} modes are lost; {REMEDY}."]
    else:
        found = [f"The generator has collapsed: {reached} of {modes} modes are reached; {REMEDY}."]
    quality = f"{100 * drawn['high_quality']:.1f} % of what is drawn lies within three deviations of a mode"
    return [*found, f"{quality}; of real examples it is {100 * real['high_quality']:.1f} %."]


def of_variety(drawn: Mapping[str, float], real: Mapping[str, float]) -> list[str]:
    """precision, recall: of samples in the features of a classifier."""
    found = []
    if drawn.get("recall", 1.0) < POOR * real.get("recall", 0.0):
        found.append(
            f"Much of the variety is missing: recall is {drawn['recall']:.2f}, {real['recall']:.2f} can be had."
        )
    if drawn.get("precision", 1.0) < POOR * real.get("precision", 0.0):
        found.append(
            f"Much of what is drawn is unlike any example: precision is {drawn['precision']:.2f}, "
            f"{real['precision']:.2f} can be had."
        )
    return found
