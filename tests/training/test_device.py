import os
import subprocess
import sys

import pytest
import torch

from dlcli.errors import DeviceError, UsageError
from dlcli.training import device


@pytest.fixture
def bare(monkeypatch):
    """A machine without accelerators."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_auto_is_the_cpu_where_there_is_nothing_else(bare, precision):
    assert device.choose("auto", precision) == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_a_usage_error(bare, name):
    with pytest.raises(UsageError) as caught:
        device.choose(name, "fp32")
    assert caught.value.message == f"training.device={name}, but torch finds no such device here"
    assert caught.value.hint == "use training.device=cpu, or auto"


def test_tf32_is_refused_where_no_gpu_has_it(bare):
    with pytest.raises(UsageError, match=r"training\.precision=tf32 is not supported by this cpu device"):
        device.choose("auto", "tf32")


def test_single_precision_is_not_rounded_to_ten_bits_in_convolutions(bare, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    device.choose("cpu", "fp32")
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


def test_a_device_that_does_not_answer_is_a_device_error(bare, monkeypatch):
    def fail(*arguments, **keywords):
        raise RuntimeError("CUDA error: uncorrectable ECC error\nCompile with `TORCH_USE_CUDA_DSA`")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", fail)
    with pytest.raises(
        DeviceError, match=r"device 'cuda' does not answer: CUDA error: uncorrectable ECC error$"
    ) as caught:
        device.choose("auto", "fp32")
    assert caught.value.exit_code == 8


def test_bf16_that_is_not_supported_is_a_usage_error(bare, monkeypatch):
    monkeypatch.setattr(device, "_has_bfloat16", lambda chosen: False)
    with pytest.raises(UsageError, match="bf16 is not supported by this cpu device"):
        device.choose("cpu", "bf16")


def test_a_number_of_threads_is_taken_as_it_is():
    before = torch.get_num_threads()
    try:
        assert device.threads(2) == torch.get_num_threads() == 2
        assert device.threads("auto") == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def test_deterministic_kernels_are_switched_without_importing_the_compiler():
    program = (
        "import os, sys, torch\n"
        "from dlcli.training import device\n"
        "device.choose('cpu', 'bf16')\n"
        "device.deterministic(True)\n"
        "assert torch.are_deterministic_algorithms_enabled()\n"
        "assert not torch.is_deterministic_algorithms_warn_only_enabled()\n"
        "assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'\n"
        "device.deterministic(False)\n"
        "assert not torch.are_deterministic_algorithms_enabled()\n"
        "assert not {'torch._dynamo', 'torch._inductor'} & set(sys.modules)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


@pytest.mark.parametrize(
    ("kind", "precision", "times", "told"),
    [
        ("cpu", "bf16", 9.04, True),
        ("cpu", "bf16", 0.5, False),
        ("cpu", "fp32", 9.04, False),
        ("cuda", "bf16", 9.04, False),
    ],
)
def test_bf16_that_makes_a_cpu_slower_is_told(monkeypatch, kind, precision, times, told):
    monkeypatch.setattr(device, "times_of_bf16", lambda: times)
    found = device.doubts(torch.device(kind), precision)
    assert [("takes 9 times" in each, "precision=fp32 is faster" in each) for each in found] == [(True, True)] * told


def test_the_time_of_bf16_is_that_of_its_products(monkeypatch):
    """A clock that each product of bf16 moves by three seconds and each of fp32 by two."""
    now, multiply = [0.0], torch.Tensor.__matmul__

    def timed(matrix, other):
        now[0] += 3.0 if matrix.dtype == torch.bfloat16 else 2.0
        return multiply(matrix, other)

    monkeypatch.setattr(torch.Tensor, "__matmul__", timed)
    monkeypatch.setattr(device.time, "perf_counter", lambda: now[0])
    assert device.times_of_bf16.__wrapped__() == 1.5  # beside the cache
