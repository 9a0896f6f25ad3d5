"""What a reader must know before trusting the three terms."""

from __future__ import annotations

from typing import NamedTuple


class Caution(NamedTuple):
    code: str  # stable, for scripts
    text: str


class Circumstances(NamedTuple):
    """How the run came about, as far as it changes what its risks mean."""

    label_noise: float = 0.0  # share of the training labels that were redrawn; the test labels are clean
    duplicates: int = 0  # test inputs that stand in the training set too
    selected_on: str = ""  # split that chose the weights or the settings; "" if nothing was chosen
    overlap: int = 0  # test inputs that stand in the validation split
    one_pass: bool = False  # no example was trained on twice
    regularizers: tuple[str, ...] = ()  # in words: "weight decay 0.0005", "label smoothing 0.1"


def of_circumstances(circumstances: Circumstances) -> list[Caution]:
    found = []
    if circumstances.label_noise > 0:
        found.append(
            Caution(
                "label_noise_shift",
                f"{circumstances.label_noise:.3g} of the training labels were redrawn and the test labels are clean: "
                "train and test are different distributions, and the generalization term contains the difference",
            )
        )
    if circumstances.duplicates > 0:
        found.append(
            Caution(
                "duplicates_across_splits",
                f"{circumstances.duplicates} test inputs stand in the training set too: the generalization term is "
                "too small",
            )
        )
    if circumstances.selected_on == "test":
        found.append(
            Caution("selected_on_test", "weights or settings were chosen on the test set: its risk is too small")
        )
    if circumstances.overlap > 0:
        chosen = circumstances.selected_on == "validation"
        effect = "which chose the learning rates" if chosen else "and whatever is chosen by validation sees them"
        found.append(
            Caution(
                "selection_contaminated",
                f"{circumstances.overlap} test inputs stand in the validation split, {effect}: their risk is too small",
            )
        )
    if circumstances.one_pass:
        found.append(
            Caution(
                "one_pass",
                "no example was trained on twice: the running loss estimates the risk of earlier weights on new data, "
                "and train and test risk differ by little else than the sampling of the two sets",
            )
        )
    if circumstances.regularizers:
        found.append(
            Caution(
                "objective_differs",
                f"the run minimized more than the decomposed loss ({', '.join(circumstances.regularizers)}): the "
                "optimization term holds both the solver's error and the bias of that objective",
            )
        )
    return found


def one_run_pool() -> Caution:
    return Caution(
        "one_run_pool",
        "no other member of the class was evaluated: the optimization term starts at 0 by construction",
    )


def not_separable(kappa: float | None) -> Caution:
    width = "cannot be compared to the test risk" if kappa is None else f"spans {100 * kappa:.0f} % of the test risk"
    return Caution(
        "approx_opt_not_separable",
        f"approximation and optimization are not separable: the interval of min_F L_train {width}",
    )


def infimum_not_attained() -> Caution:
    return Caution(
        "infimum_not_attained",
        "no member of the class reaches the infimum: the optimization term measures the scale of the scores; read the "
        "0-1 error instead",
    )


def below_resolution(resolution: float) -> Caution:
    return Caution(
        "below_resolution", f"the optimization term is below what the evaluation resolves ({resolution:.1e})"
    )


def heavy_tail(top_share: float) -> Caution:
    return Caution(
        "heavy_tail", f"1 % of the test examples carry {top_share:.0%} of the test risk: its interval is unsteady"
    )
