"""What a rank holds of a run that is cut into parts, in two processes."""

from __future__ import annotations

import multiprocessing
import socket

import pytest
import torch

from dlcli import config
from dlcli.build import build
from dlcli.training import ranks
from dlcli.training.sharding import sharded
from dlcli.training.step import take_step

WORDS = ("dataset=digits", "model=mlp", "model.width=7", "model.depth=2", "optimizer=adam", "training.sharded=true")


def look(rank, port, answers):
    """Put what rank `rank` finds into `answers`."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://localhost:{port}", world_size=2, rank=rank)
    run = build(config.load_checked(WORDS))
    moving = [*run.model.parameters(), run.learners[0].parameters.gradients, *run.learners[0].memory.values()]
    bare = all(each.is_meta for each in moving) if rank > 0 else not any(each.is_meta for each in moving)
    whole = {name: each.clone() for name, each in run.tensors()["model"].items()}
    run.align()
    with sharded(run):
        (learner,) = run.learners
        held = [learner.parameters.weights, learner.parameters.gradients, learner.memory["average"]]
        cut = [axis is not None for axis in learner.parameters.axes]
        back = run.tensors()["model"]
        same = rank > 0 or all(torch.equal(whole[name], back[name]) for name in whole)
        for _ in range(3):
            take_step(run)
            run.state.step += 1
        moved = run.tensors()
        lie = all(
            (leaf.to_local() if divided else leaf).untyped_storage().data_ptr() == held[0].untyped_storage().data_ptr()
            for leaf, divided in zip(learner.parameters.leaves, cut, strict=True)
        )
    if rank == 0:  # the only one that has the whole
        ended = run.tensors()
        for stem, named in moved.items():
            same = same and all(torch.equal(ended[stem][name], each) for name, each in named.items())
    names = learner.parameters.names
    answers.put((rank, [len(each) for each in held], dict(zip(names, cut, strict=True)), same, lie, bare))
    ranks.leave()


@pytest.fixture
def found():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    spawned = multiprocessing.get_context("spawn")
    answers = spawned.Queue()
    processes = [spawned.Process(target=look, args=(rank, port, answers)) for rank in range(2)]
    for each in processes:
        each.start()
    told = sorted(answers.get(timeout=120) for _ in processes)
    for each in processes:
        each.join(60)
    assert [each.exitcode for each in processes] == [0, 0]
    return told


def test_each_rank_holds_its_half_of_weights_gradients_and_memory(found):
    """64 inputs, 7 and 7 units, 10 classes: what two ranks do not divide is whole on both. Only rank 0 has numbers
    before.
    """
    halves, whole = 64 * 7 + 7 * 10 + 10, 7 * 7 + 7 + 7
    for _, held, cut, same, lie, bare in found:
        assert held == [halves // 2 + whole] * 3
        assert cut == {
            "body.1.weight": True,
            "body.5.weight": False,
            "head.weight": True,
            "body.1.bias": False,
            "body.5.bias": False,
            "head.bias": True,
        }
        assert same and lie and bare
