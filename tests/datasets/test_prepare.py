"""What happens between a source and training: refused data, splits, subsets, noise, standardization, facts."""

import json

import numpy as np
import pytest
import torch

from dlcli.datasets.prepare import prepare
from dlcli.errors import DataError, UsageError
from dlcli.protocols import Examples, Source

PLAIN = {
    "train_fraction": 1.0,
    "label_noise": 0.0,
    "standardize": "none",
    "standardize_targets": False,
    "binarize": False,
    "validation_fraction": 0.0,
    "test_fraction": 0.2,
    "seed": 0,
}
CLASSES = ("a", "b", "c")


def table(n=200, seed=0, features=3):
    """Every input is another one, so that examples can be followed by their first number."""
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(n, features)) * [1, 10, 100][:features] + 5
    return Examples(inputs, generator.integers(3, size=n))


def images(n=64, seed=0):
    generator = np.random.default_rng(seed)
    return Examples(generator.integers(256, size=(n, 3, 4, 5), dtype=np.uint8), generator.integers(3, size=n))


def prepared(train, test=None, validation=None, classes=CLASSES, **changes):
    return prepare(Source(train, test, validation, classes), "mine", {**PLAIN, **changes})


def everything(split):
    return split.batch(slice(None))


def names(split):
    """The first input of each example, which identifies it while nothing is standardized."""
    return everything(split).inputs[:, 0].tolist()


BAD = {
    "a label below": (lambda e: e.targets.__setitem__(7, -1), "train: label in row 7 (from 0) is -1, not a whole"),
    "a label above": (lambda e: e.targets.__setitem__(7, 3), "label in row 7 (from 0) is 3, not a whole number 0 to 2"),
    "a huge label": (lambda e: e.targets.__setitem__(7, 10**9), "row 7 (from 0) is 1e+09"),
    "a missing input": (lambda e: e.inputs.__setitem__((4, 1), np.nan), "row 4, column 1 (from 0) is nan, no finite"),
    "an infinite input": (lambda e: e.inputs.__setitem__((4, 1), -np.inf), "row 4, column 1 (from 0) is -inf"),
    "too large for float32": (lambda e: e.inputs.__setitem__((4, 1), 1e39), "is 1e+39, beyond the range of float32"),
}


@pytest.mark.parametrize("split", ["train", "test", "validation"])
@pytest.mark.parametrize("fault", BAD)
def test_values_that_no_training_can_use_are_refused_with_their_row(fault, split):
    parts = {"train": table(), "test": table(50, 1), "validation": table(40, 2)}
    damage, message = BAD[fault]
    damage(parts[split])
    with pytest.raises(DataError) as caught:
        prepared(**parts)
    assert message.replace("train:", f"{split}:") in caught.value.message and len(caught.value.message) <= 200


@pytest.mark.parametrize("label", [0.5, np.nan])
def test_float_labels_must_be_whole(label):
    targets = table().targets.astype(float)
    assert len(prepared(Examples(table().inputs, targets)).train) == 160
    targets[9] = label
    with pytest.raises(DataError, match=rf"row 9 \(from 0\) is {label}"):
        prepared(Examples(table().inputs, targets))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": table(0)}, "train: no examples"),
        ({"train": table(), "test": table(0)}, "test: no examples"),
        ({"train": Examples(table(9).inputs, table(8).targets)}, "9 inputs and 8 targets"),
        (
            {"train": table(), "test": table(features=2)},
            r"test: inputs of shape \(2,\), where .* have \(3,\)",
        ),
        ({"train": Examples(np.zeros((5, 0)), table(5).targets)}, "have no features"),
        ({"train": images(), "test": Examples(images().inputs / 255, images().targets)}, "test: inputs are float64"),
        ({"train": table(), "classes": ("a",)}, "has one class"),
        ({"train": table(3), "test_fraction": 0.1}, "test_fraction=0.1 of 3 examples is 0: an empty split"),
        ({"train": table(3), "test_fraction": 0.9}, "test_fraction=0.9 of 3 examples is 3: an empty split"),
        ({"train": table(20), "validation_fraction": 0.01}, "validation_fraction=0.01 of 16 examples is 0"),
        ({"train": table(20), "train_fraction": 0.01}, "train_fraction=0.01 of 16 training examples is none"),
    ],
)
def test_splits_that_are_empty_or_do_not_fit_are_refused(parts, message):
    with pytest.raises(DataError, match=message):
        prepared(**parts)


def test_splits_that_the_source_lacks_are_cut_and_every_example_stays_in_one():
    data = prepared(table(200), validation_fraction=0.1)
    assert (len(data.train), len(data.validation), len(data.test)) == (144, 16, 40)
    found = names(data.train) + names(data.validation) + names(data.test)
    assert sorted(found) == sorted(table(200).inputs[:, 0].astype(np.float32).tolist())
    assert data.facts["validation_cut_from_train"]
    assert data.facts["splits"]["test"] == (
        "40 examples, 0.2 of the examples of the source: the first of a permutation, dataset.seed=0"
    )


def test_splits_of_the_source_are_kept():
    data = prepared(table(), table(50, 1), table(40, 2), validation_fraction=0.1)
    assert (len(data.train), len(data.validation), len(data.test)) == (200, 40, 50)
    assert not data.facts["validation_cut_from_train"]
    assert prepared(table(), table(50, 1)).validation is None


def test_the_test_split_depends_on_the_seed_alone():
    first = names(prepared(table()).test)
    changes = {"validation_fraction": 0.3, "train_fraction": 0.5, "label_noise": 0.4}
    assert names(prepared(table(), **changes).test) == first
    assert names(prepared(table(), seed=1).test) != first


def test_a_smaller_subset_is_a_prefix_of_a_larger_one_with_the_same_noise():
    options = {"validation_fraction": 0.1, "label_noise": 0.5}
    small, large, whole = (prepared(table(), train_fraction=f, **options) for f in (0.25, 0.75, 1.0))
    assert (len(small.train), len(large.train)) == (36, 108)
    assert names(small.train) == names(large.train)[:36]
    labels = dict(zip(names(whole.train), everything(whole.train).targets.tolist(), strict=True))
    assert [labels[name] for name in names(small.train)] == everything(small.train).targets.tolist()
    assert names(small.validation) == names(whole.validation)


def test_label_noise_redraws_the_asked_share_of_training_labels_only():
    train, test = table(9000), table(300, 1)
    clean, noisy = prepared(train, test), prepared(train, test, label_noise=0.3)
    changed = (everything(clean.train).targets != everything(noisy.train).targets).double().mean().item()
    noise = noisy.facts["label_noise"]
    assert noise["asked"] == 0.3 and noise["redrawn"] == pytest.approx(0.3, abs=1e-3)
    assert noise["changed"] == changed == pytest.approx(0.2, abs=0.012)  # a third is drawn as it was; 3 SE
    assert torch.equal(everything(clean.test).targets, everything(noisy.test).targets)
    assert torch.equal(everything(clean.train).inputs, everything(noisy.train).inputs)
    assert clean.facts["train_sha256"] != noisy.facts["train_sha256"]
    assert clean.facts["test_sha256"] == noisy.facts["test_sha256"]


def test_full_label_noise_is_uniform_over_the_classes_and_less_noise_is_part_of_it():
    train = Examples(table(9000).inputs, np.zeros(9000, int))
    half, full = (everything(prepared(train, table(), label_noise=s).train).targets for s in (0.5, 1.0))
    counts = torch.bincount(full, minlength=3).double()
    assert ((counts - 3000).square() / 3000).sum() < 13.8  # chi-squared with 2 degrees of freedom, 99.9 %
    assert torch.equal(half[half != 0], full[half != 0])


def test_label_noise_of_a_regression_is_refused():
    with pytest.raises(UsageError, match="label_noise redraws classes"):
        prepared(Examples(table().inputs, np.ones(200)), classes=(), label_noise=0.1)


@pytest.mark.parametrize("standardize", ["all", "feature"])
def test_statistics_depend_on_the_training_examples_in_use_alone(standardize):
    train, test, validation = table(100), table(50, 1), table(50, 2)
    options = {"standardize": standardize, "train_fraction": 0.5}
    first = prepared(train, test, validation, **options)
    rest = Examples(train.inputs.copy(), train.targets)
    in_use = names(prepared(train, test, validation, train_fraction=0.5).train)
    used = np.isin(train.inputs[:, 0].astype(np.float32), in_use)
    assert used.sum() == 50
    rest.inputs[~used] *= 1000
    second = prepared(rest, Examples(test.inputs * 1000, test.targets), validation, **options)
    assert first.facts["standardize"] == second.facts["standardize"]
    assert first.facts["train_sha256"] == second.facts["train_sha256"]


def test_features_of_a_table_get_mean_0_and_deviation_1_each():
    inputs = everything(prepared(table(), standardize="feature").train).inputs.double()
    assert inputs.mean(0).abs().max() < 1e-6 and (inputs.std(0, correction=0) - 1).abs().max() < 1e-6
    inputs = everything(prepared(table(), standardize="all").train).inputs.double()
    assert inputs.mean().abs() < 1e-6 and (inputs.std(correction=0) - 1).abs() < 1e-6
    assert inputs[:, 2].std() > 50 * inputs[:, 0].std()


def test_a_small_spread_around_a_large_mean_survives():
    inputs = table().inputs
    inputs[:, 0] = 1.7e9 + np.arange(200)  # seconds since 1970: float32 resolves 128 of them
    found = everything(prepared(Examples(inputs, table().targets), standardize="feature").train).inputs[:, 0]
    assert len(found.unique()) == 160 and abs(found.double().std(correction=0) - 1) < 1e-6


def test_a_constant_feature_becomes_0_and_a_warning():
    inputs = table().inputs
    inputs[:, 1] = 0.1
    data = prepared(Examples(inputs, table().targets), standardize="feature")
    assert everything(data.train).inputs[:, 1].abs().max() < 1e-6
    assert data.facts["standardize"]["scale"][1] == 1.0
    assert data.facts["warnings"] == ["of 3 features, constant in train: 1 (from 0)"]


@pytest.mark.parametrize("standardize", ["none", "all", "feature"])
def test_pixels_are_scaled_to_1_and_standardized_per_channel(standardize):
    data = prepared(images(), images(32, 1), standardize=standardize)
    pixels = images().inputs / 255
    axes = {"none": None, "all": (0, 1, 2, 3), "feature": (0, 2, 3)}[standardize]
    expected = pixels if axes is None else (pixels - pixels.mean(axes, keepdims=True)) / pixels.std(axes, keepdims=True)
    np.testing.assert_allclose(everything(data.train).inputs, expected, atol=1e-6)
    assert data.train.inputs.dtype == torch.uint8 and everything(data.train).inputs.dtype == torch.float32


@pytest.mark.parametrize("train", [table(), images()], ids=["table", "images"])
def test_an_example_is_the_same_in_every_batch(train):
    split = prepared(train, train, standardize="feature").train
    whole = everything(split)
    for start in range(0, len(split), 7):
        part, rows = split.batch(slice(start, start + 7)), torch.arange(start, min(start + 7, len(split))).flip(0)
        assert torch.equal(part.inputs, whole.inputs[start : start + 7])
        assert torch.equal(split.batch(rows).inputs.flip(0), part.inputs)
        assert torch.equal(split.batch(rows).targets, whole.targets[rows])


def test_moving_a_split_changes_nothing():
    split = prepared(images(), images(32, 1), standardize="all").train
    assert torch.equal(everything(split.to("cpu")).inputs, everything(split).inputs)
    assert split.to("meta").batch(slice(0, 2)).inputs.shape == (2, 3, 4, 5)


def test_repeated_inputs_are_counted_within_train_and_across_the_test():
    train, test = table(), table(50, 1)
    train.inputs[1:4] = train.inputs[0]
    test.inputs[:5] = train.inputs[10:15]
    test.inputs[5] = train.inputs[0]
    train.inputs[20], test.inputs[6] = 0.0, -0.0
    assert prepared(train, test).facts["duplicates"] == {"train": 3, "train_test": 7, "validation_test": 0}


def test_a_regression_has_float_targets_with_two_axes():
    for targets in (np.arange(200.0), np.arange(200), np.arange(400.0).reshape(200, 2)):
        data = prepared(Examples(table().inputs, targets), classes=())
        found = everything(data.train).targets
        assert found.dtype == torch.float32 and found.shape == (160, targets.size // 200)
        assert data.spec.targets == targets.size // 200 and data.spec.classes == ()


def test_targets_of_a_regression_are_in_deviations_of_the_training_targets():
    targets = np.stack([np.arange(200.0), 1000 + 3 * np.arange(200.0)], 1)
    plain, scaled = (
        prepare(
            Source(Examples(table().inputs, targets), truth={"bayes_loss": 7.0}),
            "mine",
            PLAIN | {"standardize_targets": asked, "train_fraction": 0.5},
        )
        for asked in (False, True)
    )
    found = everything(scaled.train).targets.double()
    assert found.mean(0).abs().max() < 1e-6 and found.square().mean().item() == pytest.approx(1)
    unit = scaled.facts["standardize_targets"]
    for split in ("train", "test"):
        back = everything(getattr(scaled, split)).targets.double() * unit["scale"] + torch.tensor(unit["mean"])
        np.testing.assert_allclose(back, everything(getattr(plain, split)).targets, rtol=1e-6, atol=1e-4)
    assert scaled.facts["truth"]["bayes_loss"] * unit["scale"] ** 2 == pytest.approx(7.0)
    assert plain.facts["truth"]["bayes_loss"] == 7.0 and plain.facts["standardize_targets"] == {}


def test_constant_targets_become_0_and_a_warning():
    data = prepared(Examples(table().inputs, np.full(200, 5.0)), classes=(), standardize_targets=True)
    assert everything(data.train).targets.abs().max() == 0


def test_the_hash_is_that_of_the_content():
    first = prepared(table(), standardize="feature", validation_fraction=0.1).facts
    again = prepared(table(), standardize="feature", validation_fraction=0.1).facts
    assert first == again
    other = table()
    other.inputs[:, 2] = np.nextafter(other.inputs[:, 2].astype(np.float32), np.float32(9e9))
    assert prepared(other).facts["train_sha256"] != prepared(table()).facts["train_sha256"]
    assert prepared(table(), standardize="all").facts["train_sha256"] != first["train_sha256"]


def test_facts_are_plain_json():
    source = Source(images(), classes=CLASSES, truth={"bayes_error": 0.1}, origin="here", notes=("a note",))
    facts = prepare(source, "mine", {**PLAIN, "standardize": "feature"}).facts
    assert json.loads(json.dumps(facts)) == facts
    assert facts["truth"] == {"bayes_error": 0.1} and facts["origin"] == "here" and facts["notes"] == ["a note"]
    assert sum(facts["class_counts"]["train"]) == facts["n_train"] == 51 and facts["shape"] == [3, 4, 5]
