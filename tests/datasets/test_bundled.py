"""scikit-learn's files, read without importing it, against what importing it gives."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn import datasets as reference

from dlcli.datasets import bundled


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_tables_and_classes_are_those_of_scikit_learn(name):
    published = getattr(reference, f"load_{name}")()
    source = getattr(bundled, name)()
    np.testing.assert_array_equal(source.train.inputs, published.data)
    np.testing.assert_array_equal(source.train.targets, published.target)
    assert source.classes == tuple(map(str, published.target_names))
    assert source.test is None


def test_digits_are_images_with_pixels_from_0_to_1():
    published = reference.load_digits()
    source = bundled.digits()
    np.testing.assert_array_equal(source.train.inputs[:, 0] * 16, published.images)
    np.testing.assert_array_equal(source.train.targets, published.target)
    assert source.train.inputs.max() == 1 and source.classes == tuple("0123456789")


def test_diabetes_is_a_regression_in_original_units():
    published = reference.load_diabetes(scaled=False)
    source = bundled.diabetes()
    np.testing.assert_allclose(source.train.inputs, published.data)
    np.testing.assert_array_equal(source.train.targets[:, 0], published.target)
    assert source.classes == ()


def test_reading_them_does_not_import_scikit_learn():
    code = "import sys; from dlcli.datasets.bundled import digits; digits(); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
