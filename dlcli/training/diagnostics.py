"""What else can be measured of a model while it is trained: off by default, and without a trace in the run.

Everything is a function of the present weights, the first examples of the training split and the step, so a resumed
run shows the same curves. Weights, optimizer memory and running statistics are put back to the bit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dlcli.protocols import Batch
from dlcli.training.evaluate import evaluating
from dlcli.training.randomness import FixedNoise
from dlcli.training.run import Learner, Run
from dlcli.training.step import take_step

EXAMPLES = 1000
PARTS = 10  # of them, for the noise of gradients
ITERATIONS = 20  # of the power method; each is two gradients
REACH = 1e-3  # of a finite difference, as a share of the length of the weights


def diagnose(run: Run) -> dict[str, float]:
    """By tag: update ratios, sharpness and gradient noise scale of each phase, dead units, rank of the features."""
    batch = run.data.train.batch(slice(min(EXAMPLES, len(run.data.train))))
    found = update_ratios(run)
    with evaluating(run.model):
        for learner in run.learners:
            found[f"diagnostics/{learner.phase.name}/sharpness"] = sharpness(run, learner, batch)
            found[f"diagnostics/{learner.phase.name}/gradient_noise_scale"] = gradient_noise_scale(run, learner, batch)
        with torch.inference_mode():
            noise = FixedNoise(0, len(batch.inputs), run.device)
            found |= dead_units(run.model, lambda: run.task.predict(run.model, batch, noise))
            if (head := run.task.head(run.model)) is not None:
                features = run.model.body(batch.inputs).reshape(-1, head.in_features)
                found["diagnostics/effective_rank"] = effective_rank(features)
    return found


def update_ratios(run: Run) -> dict[str, float]:
    """Length of the step to come over the length of the weights, for each matrix and kernel: near 1e-3 is usual.

    The step is taken and taken back.
    """
    state, memories = run.state, [{k: v.clone() for k, v in learner.memory.items()} for learner in run.learners]
    before = [learner.parameters.weights.clone() for learner in run.learners]
    buffers = [buffer.clone() for buffer in run.model.buffers()]
    skipped = state.skipped, state.skipped_in_a_row
    found = {}
    try:
        take_step(run)
        for learner, old in zip(run.learners, before, strict=True):
            steps = learner.parameters.views(learner.parameters.weights - old)
            for name, weights in learner.parameters.views(old).items():
                if weights.dim() >= 2 and (length := weights.norm().item()):
                    found[f"diagnostics/update_ratio/{name}"] = steps[name].norm().item() / length
    finally:
        state.skipped, state.skipped_in_a_row = skipped
        for learner, old, memory in zip(run.learners, before, memories, strict=True):
            learner.parameters.weights.copy_(old)
            for name, tensor in memory.items():
                learner.memory[name].copy_(tensor)
        for buffer, old in zip(run.model.buffers(), buffers, strict=True):
            buffer.copy_(old)
    return found


def gradient(run: Run, learner: Learner, batch: Batch) -> Tensor:
    """(size,) of the objective of the phase, laid out like its weights; what a step would add to is left alone."""
    parameters = learner.parameters
    loss = learner.phase.loss(run.model, batch, FixedNoise(0, len(batch.inputs), run.device))
    flat = torch.zeros_like(parameters.weights)
    views = parameters.views(flat)
    parts = torch.autograd.grad(loss, parameters.leaves, allow_unused=True)
    for name, part in zip(parameters.names, parts, strict=True):
        if part is not None:
            views[name].copy_(part)
    return flat


def sharpness(run: Run, learner: Learner, batch: Batch) -> float:
    """The eigenvalue of the Hessian that is greatest in size, by the power method.

    Its products with vectors are central differences of gradients: fused kernels have no second derivative.
    """
    weights = learner.parameters.weights
    before = weights.clone()
    reach = REACH * max(1.0, before.norm().item())
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(len(weights), generator=generator).to(weights)
    value = 0.0
    for _ in range(ITERATIONS):
        direction /= direction.norm()
        weights.copy_(before + reach * direction)
        ahead = gradient(run, learner, batch)
        weights.copy_(before - reach * direction)
        product = (ahead - gradient(run, learner, batch)) / (2 * reach)
        value = torch.dot(direction, product).item()
        if not product.any():
            break
        direction = product
    weights.copy_(before)
    return value


def gradient_noise_scale(run: Run, learner: Learner, batch: Batch) -> float:
    """tr(S) / |G|^2, in examples: batches far below it are mostly noise, batches far above it waste examples.

    G is the true gradient, S the covariance of that of one example; both without bias, from gradients of batches of
    two sizes. Source: McCandlish et al. 2018, arXiv:1812.06162, appendix A.1.
    """
    size = len(batch.inputs) // PARTS
    if size == 0:
        return float("nan")
    parts = [Batch(*(t[i * size : (i + 1) * size] for t in batch)) for i in range(PARTS)]
    gradients = [gradient(run, learner, part) for part in parts]
    small = sum(each.square().sum().item() for each in gradients) / PARTS
    large = (sum(gradients) / PARTS).square().sum().item()
    squared = (PARTS * large - small) / (PARTS - 1)
    variance = (small - large) / (1 / size - 1 / (PARTS * size))
    return variance / squared if squared > 0 else float("inf")


def dead_units(model: nn.Module, predict: Callable[[], object]) -> dict[str, float]:
    """Share of the channels of rectifiers that no example of a prediction makes positive, by layer."""
    found: dict[str, float] = {}

    def look(name: str, output: Tensor) -> None:
        alive = (output > 0).transpose(0, 1).flatten(1).any(1)  # (channels,)
        found[f"diagnostics/dead_units/{name}"] = 1 - alive.double().mean().item()

    handles = [
        module.register_forward_hook(lambda module, inputs, output, name=name: look(name, output))
        for name, module in model.named_modules()
        if type(module) is nn.ReLU
    ]
    try:
        if handles:
            predict()
    finally:
        for handle in handles:
            handle.remove()
    return found


def effective_rank(features: Tensor) -> float:
    """exp of the entropy of the singular values of features (n, width) about their mean, as shares of their sum.

    Source: Roy & Vetterli 2007 (EUSIPCO).
    """
    values = torch.linalg.svdvals((features - features.mean(0)).double())
    shares = values[values > 0] / values.sum()
    return torch.exp(-(shares * shares.log()).sum()).item()
