import torch
from torch.nn.functional import dropout

from dlcli.training.randomness import Batches, FixedNoise, FreshNoise, seed_noise, stream

CPU = torch.device("cpu")


def test_streams_differ_by_seed_purpose_and_counter():
    seeds = {stream(s, p, c) for s in range(20) for p in ("weights", "order", "noise") for c in range(20)}
    assert len(seeds) == 20 * 3 * 20


def test_any_step_can_be_asked_for_without_the_ones_before():
    forward = Batches(103, 10, seed=7, device=CPU)
    in_order = [forward.indices(step) for step in range(35)]
    fresh = Batches(103, 10, seed=7, device=CPU)
    assert all(torch.equal(fresh.indices(step), in_order[step]) for step in reversed(range(35)))


def test_an_epoch_reads_no_example_twice_and_each_epoch_has_its_own_order():
    batches = Batches(103, 10, seed=7, device=CPU)
    first, second = (torch.cat([batches.indices(e * 10 + step) for step in range(10)]) for e in range(2))
    assert len(first.unique()) == 100
    assert not torch.equal(first, second)


def test_a_text_is_cut_anew_for_each_epoch_and_read_in_one_cut_throughout():
    """Index i + k * len is example i of cut k."""
    batches = Batches(30, 10, seed=7, device=CPU, cuts=16)
    epochs = [torch.cat([batches.indices(3 * epoch + step) for step in range(3)]) for epoch in range(200)]
    cuts = [set((order // 30).tolist()) for order in epochs]
    assert all(len(cut) == 1 for cut in cuts) and set.union(*cuts) == set(range(16))
    assert all(sorted((order % 30).tolist()) == list(range(30)) for order in epochs)


def test_noise_is_a_function_of_its_seed():
    draws = []
    for seed in (3, 4, 3):
        seed_noise(CPU, seed)
        draws.append(dropout(torch.ones(50), 0.5))
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])


def test_the_noise_of_an_example_is_that_of_its_place_whatever_the_chunk():
    whole = FixedNoise(0, 700, CPU).normal(3)
    for start, size in ((0, 1), (249, 2), (250, 250), (630, 70)):
        assert torch.equal(FixedNoise(start, size, CPU).normal(3), whole[start : start + size])


def test_calls_and_draws_of_evaluation_noise_are_independent():
    noise = FixedNoise(0, 5000, CPU)
    numbers = [noise.normal(), noise.normal(), FixedNoise(0, 5000, CPU, draw=1).normal()]
    correlations = torch.corrcoef(torch.stack(numbers)) - torch.eye(3)
    assert correlations.abs().max() < 4 / 5000**0.5


def test_evaluation_noise_leaves_the_noise_of_training_alone():
    seed_noise(CPU, 1)
    expected = FreshNoise(4, CPU).uniform(2)
    seed_noise(CPU, 1)
    FixedNoise(0, 300, CPU).uniform(2)
    assert torch.equal(FreshNoise(4, CPU).uniform(2), expected)
