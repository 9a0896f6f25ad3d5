import torch

from dlcli.datasets.windows import Windows, windows

TEXT = torch.arange(31, dtype=torch.int32)  # each token names its place
LENGTH = 7


def test_every_token_but_the_first_is_predicted_once_from_the_tokens_before_it_in_its_window():
    split = windows(TEXT, LENGTH)
    whole = split.batch(slice(None))
    assert whole.inputs.dtype == whole.targets.dtype == torch.int64
    assert whole.targets.flatten().tolist() == list(range(1, 29))  # the rest is shorter than a window
    assert torch.equal(whole.inputs + 1, whole.targets)


def test_parts_of_the_split_are_the_whole():
    split = windows(TEXT, LENGTH)
    whole, parts = split.batch(slice(None)), [split.batch(slice(start, start + 3)) for start in (0, 3)]
    assert len(split) == 4
    assert torch.equal(torch.cat([part.inputs for part in parts]), whole.inputs)
    assert torch.equal(split.batch(torch.tensor([2, 0])).targets, whole.targets[[2, 0]])


def test_the_cuts_together_hold_every_window_of_the_text_and_nothing_else():
    split = windows(TEXT, LENGTH)
    starts = split.batch(torch.arange(split.cuts * len(split))).inputs[:, 0]
    assert set(starts.tolist()) == set(range(29 - LENGTH))
    first = split.batch(torch.arange(len(split)) + 3 * len(split)).inputs[:, 0]
    assert first.tolist() == [3, 10, 17, 21]  # the last one has no room


def test_the_hash_tells_texts_and_windows_apart():
    same, other = Windows(TEXT[:29], 7), Windows(TEXT[:29], 4)
    assert windows(TEXT, 7).sha256() == same.sha256() != other.sha256()
    assert windows(TEXT.flip(0), 7).sha256() != same.sha256()
