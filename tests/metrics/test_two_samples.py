import numpy as np
import pytest
import torch

from dlcli.metrics import two_samples
from dlcli.protocols import Batch


@pytest.fixture
def draw():
    source = np.random.default_rng(0)
    return lambda n, mean=0.0, scale=1.0, k=3: mean + scale * source.standard_normal((n, k))


def test_the_discrepancy_is_the_double_sum_of_the_source(draw):
    drawn, given = draw(7, 1.0), draw(5)
    distances = [np.linalg.norm(given[i] - given[j]) for i in range(5) for j in range(i)]
    scale = np.median(distances)

    def k(x, y):
        return np.exp(-np.square(x - y).sum() / (2 * scale**2))

    expected = (
        sum(k(drawn[i], drawn[j]) for i in range(7) for j in range(7) if i != j) / 42
        + sum(k(given[i], given[j]) for i in range(5) for j in range(5) if i != j) / 20
        - 2 * sum(k(x, y) for x in drawn for y in given) / 35
    )
    assert two_samples.squared_discrepancy(drawn, given) == pytest.approx(expected, abs=1e-12)


def test_the_discrepancy_of_two_samples_of_one_distribution_is_zero_on_average(draw):
    values = [two_samples.squared_discrepancy(draw(100), draw(100)) for _ in range(60)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(60)
    assert two_samples.squared_discrepancy(draw(100, 1.0), draw(100)) > max(values)


def test_the_frechet_distance_of_normal_samples_nears_its_closed_form(draw):
    drawn, given = draw(100_000, 0.5, 2.0), draw(100_000, 0.0, 1.0)
    assert two_samples.frechet_distance(drawn, given) == pytest.approx(3 * (0.25 + 1.0), rel=0.02)


def test_the_frechet_distance_follows_the_square_root_of_the_product(draw):
    from scipy.linalg import sqrtm

    drawn, given = draw(50) @ draw(3), draw(40)
    first, second = np.cov(drawn.T), np.cov(given.T)
    expected = np.square(drawn.mean(0) - given.mean(0)).sum() + np.trace(first + second - 2 * sqrtm(first @ second))
    assert two_samples.frechet_distance(drawn, given) == pytest.approx(expected.real)
    assert two_samples.frechet_distance(given, given) == pytest.approx(0, abs=1e-9)


def test_a_part_of_the_variety_is_precise_and_recalls_that_part(draw):
    given = np.concatenate([draw(300), draw(300, 100.0)])
    drawn = draw(300)
    assert two_samples.precision(drawn, given) > 0.9
    assert 0.4 < two_samples.recall(drawn, given) < 0.5


def test_precision_by_hand():
    given = np.array([[0.0], [1.0], [2.0], [3.0]])  # third neighbours: 3, 2, 2, 3 away
    assert two_samples.precision(np.array([[-3.0], [-3.1], [5.9], [6.1]]), given) == 0.5


def test_rows_do_not_depend_on_the_batching_and_reduce_once(draw):
    metric = two_samples.discrepancy_metric(lambda inputs: inputs.flatten(1))
    drawn, given = (torch.from_numpy(draw(12, k=4)).view(12, 2, 2) for _ in range(2))
    whole = metric.rows(drawn, Batch(given, given))
    pairs = zip(drawn.split(5), given.split(5), strict=True)
    parts = [metric.rows(some, Batch(others, others)) for some, others in pairs]
    assert torch.equal(whole, torch.cat(parts)) and whole.shape == (12, 8)
    expected = two_samples.squared_discrepancy(drawn.flatten(1).numpy(), given.flatten(1).numpy())
    assert metric.reduce(whole.numpy()) == expected


def test_one_point_repeated_is_measured_without_a_fault():
    same = np.zeros((5, 2))
    for compare in (two_samples.squared_discrepancy, two_samples.frechet_distance):
        assert compare(same, same) == 0
    assert two_samples.precision(same, same) == 1
