"""The small real data sets that scikit-learn carries, read from its files: importing it takes a second."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dlcli.errors import DataError
from dlcli.protocols import Examples, Source
from dlcli.registry import register


@register("dataset", "digits")
def digits() -> Source:
    """Handwritten digits of 8x8 pixels, 1797 examples (UCI; scikit-learn's copy).

    Differs: the pixels, counts from 0 to 16, are scaled to [0, 1] like those of any other image.
    """
    rows = _rows("digits.csv.gz")
    images = (rows[:, :-1] / 16).reshape(-1, 1, 8, 8)
    return _source(images, rows[:, -1], tuple("0123456789"))._replace(levels=17)


@register("dataset", "iris")
def iris() -> Source:
    """Three species of iris by four lengths, 150 examples (Fisher 1936)."""
    rows = _rows("iris.csv", skip=1)
    return _source(rows[:, :-1], rows[:, -1], ("setosa", "versicolor", "virginica"))


@register("dataset", "wine")
def wine() -> Source:
    """Three cultivars of wine by 13 chemical measurements, 178 examples (UCI)."""
    rows = _rows("wine_data.csv", skip=1)
    return _source(rows[:, :-1], rows[:, -1], ("class_0", "class_1", "class_2"))


@register("dataset", "breast_cancer")
def breast_cancer() -> Source:
    """Malignant or benign tumours by 30 measurements of cell nuclei, 569 examples (UCI, Wisconsin)."""
    rows = _rows("breast_cancer.csv", skip=1)
    return _source(rows[:, :-1], rows[:, -1], ("malignant", "benign"))


@register("dataset", "diabetes")
def diabetes() -> Source:
    """Progression of diabetes (25 to 346) by ten measurements, 442 patients, a regression (Efron et al. 2004).

    Differs: the measurements are in their own units; scikit-learn's default scales them with the test rows included.
    """
    return _source(_rows("diabetes_data_raw.csv.gz", None), _rows("diabetes_target.csv.gz", None)[:, None], ())


def _rows(file: str, delimiter: str | None = ",", skip: int = 0) -> np.ndarray:
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("scikit-learn, which carries this data set, is not installed", "pip install scikit-learn")
    path = Path(package.origin).parent / "datasets" / "data" / file
    if not path.is_file():
        raise DataError(f"scikit-learn carries no {file} in this version", "pip install 'scikit-learn>=1.6'")
    return np.loadtxt(path, delimiter=delimiter, skiprows=skip)


def _source(inputs: np.ndarray, targets: np.ndarray, classes: tuple[str, ...]) -> Source:
    if classes:
        targets = targets.astype(np.int64)
    return Source(Examples(inputs, targets), classes=classes, origin="scikit-learn's packaged files")
