import pytest
import safetensors.torch
import torch

from dlcli.training.tensor_file import CODES, Kind, decode, encode, is_finite, kind


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 5)])
def test_the_library_reads_what_we_write(dtype, shape):
    tensors = {"b": torch.randint(0, 2, shape).to(dtype), "a": torch.ones(3, dtype=torch.bool)}
    found = safetensors.torch.load(b"".join(encode(tensors)))
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)


def test_we_read_what_the_library_writes():
    tensors = {"weight": torch.randn(3, 4), "half": torch.randn(5).half(), "count": torch.tensor(7)}
    declared = {name: kind(tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    found = decode(safetensors.torch.save(tensors), declared)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_views_and_tied_tensors_are_written_each():
    base = torch.arange(12.0).view(3, 4)
    channels_last = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tensors = {"whole": base, "turned": base.T, "row": base[1], "image": channels_last}
    found = safetensors.torch.load(b"".join(encode(tensors)))
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_numbers_are_aligned_to_their_size():
    pieces = encode({"a": torch.ones(3, dtype=torch.uint8), "b": torch.ones(1), "c": torch.ones(1).double()})
    assert len(pieces[0]) % 8 == 0
    assert [len(piece) for piece in pieces[1:]] == [8, 4, 3]


def test_what_is_declared_must_be_there():
    content = b"".join(encode({"a": torch.ones(3)}))
    with pytest.raises(ValueError, match="differs from the manifest"):
        decode(content, {"a": Kind("F32", (4,))})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_bad_number_is_found(dtype, bad):
    tensor = torch.zeros(1000, dtype=dtype)
    assert is_finite(tensor)
    tensor[777] = bad
    assert not is_finite(tensor)


def test_the_greatest_numbers_are_finite():
    assert is_finite(torch.full((10_000,), torch.finfo(torch.float32).max))


@pytest.mark.parametrize("tensor", [torch.zeros(0), torch.tensor(3), torch.tensor(True)])
def test_empty_and_whole_numbers_are_finite(tensor):
    assert is_finite(tensor)
