"""The generated arrays against the authors' package and their published statistics."""

import contextlib
import io

import numpy as np
import pytest

from dlcli.datasets.mnist1d import LENGTH, mnist1d


def authors(**changes):
    data = pytest.importorskip("mnist1d.data", reason="the authors' package mnist1d is in the extra 'dev'")
    arguments = data.get_dataset_args()
    for name, value in changes.items():
        setattr(arguments, name, value)
    with contextlib.redirect_stdout(io.StringIO()):
        return data.make_dataset(arguments)


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_arrays_are_those_of_the_authors(shuffle):
    published = authors(shuffle_seq=shuffle)
    source = mnist1d(examples=5000, shuffle=shuffle, generator_seed=42)
    assert source.train.inputs.shape == (4000, 1, LENGTH) and source.test.inputs.shape == (1000, 1, LENGTH)
    np.testing.assert_allclose(source.train.inputs[:, 0], published["x"], rtol=0, atol=1e-13)
    np.testing.assert_allclose(source.test.inputs[:, 0], published["x_test"], rtol=0, atol=1e-13)
    np.testing.assert_array_equal(source.train.targets, published["y"])
    np.testing.assert_array_equal(source.test.targets, published["y_test"])


def test_other_sizes_and_seeds_are_those_of_the_authors_too():
    published = authors(num_samples=215, seed=7)
    source = mnist1d(examples=215, shuffle=False, generator_seed=7)
    np.testing.assert_allclose(source.train.inputs[:, 0], published["x"], rtol=0, atol=1e-13)
    np.testing.assert_array_equal(source.test.targets, published["y_test"])


def test_the_set_is_standardized_as_a_whole_and_holds_each_class_equally_often():
    source = mnist1d(examples=5000, shuffle=False, generator_seed=42)
    inputs = np.concatenate([source.train.inputs, source.test.inputs])
    assert abs(inputs.mean()) < 1e-12 and abs(inputs.std() - 1) < 1e-12
    assert np.bincount(np.concatenate([source.train.targets, source.test.targets])).tolist() == [500] * 10


def test_shuffling_permutes_the_samples_alike_in_every_example():
    plain = mnist1d(examples=100, shuffle=False, generator_seed=42).train.inputs[:, 0]
    shuffled = mnist1d(examples=100, shuffle=True, generator_seed=42).train.inputs[:, 0]
    order = [int(np.flatnonzero(np.isclose(plain, column[:, None]).all(0))[0]) for column in shuffled.T]
    assert sorted(order) == list(range(LENGTH)) != order
