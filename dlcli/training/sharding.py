"""Weights, gradients and optimizer memory cut into as many parts as there are ranks: FSDP2, `fully_shard`.

Zhao et al. 2023, arXiv:2304.11277. Before a layer is needed its parts are gathered, and given back behind it; gradients
are summed where their part lies. What a rank keeps is one vector, as in `FlatParameters`, so that the update rules are
the same. Parameters with no axis that the ranks divide stay whole on each of them: they are small.

Whole is only what rank 0 has built and restored, in the memory of its host, until it has dealt out the parts; the other
ranks know the shapes. Behind the last step it is whole there again. Checkpoints are those of a whole run, so any number
of ranks goes on from them.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn

from dlcli.training.evaluate import evaluating
from dlcli.training.parameters import FlatParameters, part_of
from dlcli.training.randomness import FixedNoise
from dlcli.training.ranks import Ranks, together
from dlcli.training.run import Learner, Run


class ShardedParameters:
    """This rank's part of the parameters, in the order of `FlatParameters`: what it keeps of each lies in one vector.

    `gather` and `deal` translate to and from the vector of a whole run.
    """

    sharded = True
    reached = None  # the leaves of a backward pass are not the parameters but what was gathered of them

    def __init__(self, module: nn.Module, whole: FlatParameters, device: torch.device, ranks: Ranks):
        """Cuts `module`, which has no numbers yet; they lie in `whole` of rank 0."""
        self.names, self.ranks, self.averaged = whole.names, ranks, ranks.size
        self.forms = [torch.empty_like(leaf, device="meta") for leaf in whole.leaves]  # the layout of the whole vector
        axes = cut(module, device.type, ranks.size)
        self.axes = [axes[name] for name in whole.names]
        self.matrices: list[tuple[Tensor, Tensor]] = []  # whole ones, which nobody has here
        sizes = [self.shape(number).numel() for number in range(len(self.forms))]
        self.matrices_size = sum(size for size, form in zip(sizes, self.forms, strict=True) if form.dim() >= 2)
        self.weights = torch.empty(sum(sizes), dtype=whole.weights.dtype, device=device)
        self.gradients = torch.zeros_like(self.weights)
        self.deal(whole.weights, self.weights)
        for name, axis, part in zip(self.names, self.axes, self.parts(self.weights), strict=True):
            lie_in(module, name, part, whole=axis is None)
        self.leaves = [module.get_parameter(name) for name in self.names]
        self.places = list(self.parts(self.gradients))

    def shape(self, number: int) -> torch.Size:
        """Of this rank's part of a parameter."""
        shape, axis = list(self.forms[number].shape), self.axes[number]
        if axis is not None:
            shape[axis] //= self.ranks.size
        return torch.Size(shape)

    def parts(self, vector: Tensor) -> Iterator[Tensor]:
        """This rank's part of each parameter in a vector like `weights`."""
        start = 0
        for number in range(len(self.forms)):
            shape = self.shape(number)
            yield vector[start : start + shape.numel()].view(shape)
            start += shape.numel()

    def collect(self, ranks: Ranks) -> None:
        """Take what `backward` has left in the leaves, summed over the ranks."""
        alike = []
        for leaf, place, axis in zip(self.leaves, self.places, self.axes, strict=True):
            gradient, leaf.grad = leaf.grad, None
            if gradient is None:
                place.zero_()
            else:
                place.copy_(gradient if axis is None else gradient.to_local())
            if axis is None:
                alike.append(place.div_(ranks.size))  # of a loss that was multiplied for the mean of the others
        ranks.add(*alike)

    def sum(self, numbers: Tensor) -> Tensor:
        """Over what all ranks have of a vector like `weights`, each number once."""
        parts = zip(self.parts(numbers), self.axes, strict=True)
        total = sum(part.sum() / (1 if axis is not None else self.ranks.size) for part, axis in parts)
        self.ranks.add(total)
        return total

    def norm(self) -> Tensor:
        """Of the gradients."""
        return self.sum(self.gradients.square()).sqrt()

    def total(self) -> Tensor:
        """The sum of the weights, which is not finite if one of them is not."""
        return self.sum(self.weights)

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """Name -> the part of a whole vector that is that parameter, in its shape."""
        found, start = {}, 0
        for name, form in zip(self.names, self.forms, strict=True):
            found[name] = part_of(vector, form, start)
            start += form.numel()
        return found

    def gather(self, vector: Tensor) -> Tensor:
        """A vector like `weights` -> the whole one, (size,) in the layout of `FlatParameters`; asked of all ranks.

        Rank 0 has it, in host memory, and the others its shape alone. One parameter after the other is whole on the
        devices, as in the steps.
        """
        first = self.ranks.rank == 0
        whole = torch.empty(
            sum(form.numel() for form in self.forms), dtype=vector.dtype, device="cpu" if first else "meta"
        )
        for place, part, axis in zip(self.views(whole).values(), self.parts(vector), self.axes, strict=True):
            if axis is not None:
                parts = [torch.empty_like(part) for _ in range(self.ranks.size)]
                with together():
                    distributed.all_gather(parts, part)
                part = torch.cat(parts, axis) if first else part
            if first:
                place.copy_(part)
        return whole

    def deal(self, whole: Tensor, own: Tensor) -> Tensor:
        """Fill a vector like `weights` with this rank's part of the whole one, which rank 0 has; asked of all ranks."""
        for form, part, axis in zip(self.views(whole).values(), self.parts(own), self.axes, strict=True):
            parts = None
            if self.ranks.rank == 0:
                cut = (form,) if axis is None else form.chunk(self.ranks.size, axis)
                parts = [each.to(own.device).contiguous() for each in cut]
            if axis is None:
                part.copy_(parts[0] if parts else part)
                self.ranks.follow([part])
            else:
                with together():
                    distributed.scatter(part, parts)
        return own


def lie_in(module: nn.Module, name: str, part: Tensor, whole: bool) -> None:
    """Let what is kept of a parameter lie in this part of a vector."""
    leaf = module.get_parameter(name)
    if whole:
        leaf.data = part
        return
    from torch.distributed.tensor import DTensor  # a second to import, and only here

    local = DTensor.from_local(part, leaf.device_mesh, leaf.placements)
    module.load_state_dict({name: local}, strict=False, assign=True)


@contextmanager
def sharded(run: Run) -> Iterator[None]:
    """Cut a run into parts, for the steps of the block; nothing changes where it is alone, or is not to be cut."""
    if not run.training.sharded or run.ranks.size == 1:
        yield
        return
    (learner,) = run.learners
    whole, memory = learner.parameters, learner.memory
    known = {id(each): told(each, run) for each in undivided(run.model, run.ranks.size)}
    shell, run.model = hollow(run.model, known), hollow(run.model, known)
    parameters = ShardedParameters(run.model, whole, run.device, run.ranks)
    whole_size = whole.weights.shape
    run.learners = (learner._replace(parameters=parameters, memory={}),)
    del whole, learner
    for name in list(memory):  # one after the other, so that no two of them are there whole and in parts
        each = memory.pop(name)
        if each.shape == whole_size:
            run.learners[0].memory[name] = parameters.deal(each, torch.empty_like(parameters.weights))
        else:
            run.learners[0].memory[name] = told(each, run)
    first_forward(run)
    yield
    become_whole(run, shell)


def undivided(model: nn.Module, size: int) -> Iterator[Tensor]:
    """What every rank has whole."""
    yield from model.buffers()
    yield from (leaf for leaf in model.parameters() if axis_of(leaf, size) is None)


def told(tensor: Tensor, run: Run) -> Tensor:
    """What rank 0 has of it, on the device."""
    own = torch.empty_like(tensor, device=run.device, requires_grad=False)
    if run.ranks.rank == 0:
        own.copy_(tensor.detach())
    run.ranks.follow([own])
    return parameter(own, tensor) if isinstance(tensor, nn.Parameter) else own


def hollow(model: nn.Module, known: Mapping[int, Tensor] | None = None) -> nn.Module:
    """A copy whose parameters have shapes and no numbers, but for those that are known by their identity in `model`."""
    empty = {id(leaf): parameter(torch.empty_like(leaf, device="meta"), leaf) for leaf in model.parameters()}
    return copy.deepcopy(model, {**empty, **(known or {})})


def parameter(numbers: Tensor, like: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(numbers.detach(), like.requires_grad)


def cut(model: nn.Module, device: str, size: int) -> dict[str, int | None]:
    """Each layer of the body by itself, so that one at a time is whole, then what is left. Returns for each parameter
    along which axis it is cut, None where it stays whole.
    """
    from torch.distributed.device_mesh import init_device_mesh  # a second to import, and only here
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Shard

    # It would be an error to change them in place, which no layer does with what another returns.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    mesh: Any = init_device_mesh(device, (size,))
    named = dict(model.named_parameters())
    axes = {name: axis_of(leaf, size) for name, leaf in named.items()}
    whole = {leaf for name, leaf in named.items() if axes[name] is None}
    places = {leaf: Shard(axes[name]) for name, leaf in named.items() if axes[name] is not None}
    for leaf in named.values():
        leaf.data = leaf.data.contiguous()  # channels may be last
    for part in (*layers(model), model):
        fully_shard(part, mesh=mesh, shard_placement_fn=places.__getitem__, ignored_params=whole)
    return axes


def axis_of(leaf: Tensor, size: int) -> int | None:
    """The first that so many ranks divide; None where there is none, or the parameter does not move."""
    divided = (axis for axis, length in enumerate(leaf.shape) if length % size == 0)
    return next(divided, None) if leaf.requires_grad else None


def layers(model: nn.Module) -> Iterable[nn.Module]:
    """Those whose parameters are needed in their own forward pass alone: embeddings may be read by a last layer too.
    None where the body is no chain.
    """
    body = getattr(model, "body", None)
    chain = body if isinstance(body, nn.Sequential) else ()
    return [part for part in chain if not isinstance(part, nn.Embedding) and any(True for _ in part.parameters())]


@torch.no_grad()
def first_forward(run: Run) -> None:
    """FSDP2 gets ready in its first forward pass, which must not be one in inference mode."""
    with evaluating(run.model):
        run.task.predict(run.model, run.data.train.batch(slice(1)), FixedNoise(0, 1, run.device))


def become_whole(run: Run, shell: nn.Module) -> None:
    """In rank 0, put a model of whole tensors in the place of that of parts; asked of all ranks. The memory of the
    optimizer, which nobody moves any more, stays in that of the host.
    """
    (learner,) = run.learners
    tensors = run.tensors()
    if run.ranks.rank > 0:
        return
    numbers = tensors["model"]
    run.model = hollow(
        shell, {id(leaf): parameter(numbers[name].to(run.device), leaf) for name, leaf in shell.named_parameters()}
    )
    parameters = FlatParameters(run.model)
    memory = {name.split("/", 1)[1]: each for name, each in tensors["optimizer"].items()}
    run.learners = (Learner(**{**learner._asdict(), "parameters": parameters, "memory": memory}),)
