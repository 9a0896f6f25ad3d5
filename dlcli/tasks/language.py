"""The next token at every position, and the text that follows from it."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import torch
from torch import Generator, Tensor, nn

from dlcli.errors import UsageError
from dlcli.metrics import tokens as metrics
from dlcli.metrics.mean import widen
from dlcli.protocols import DataSpec
from dlcli.registry import register
from dlcli.schema import Range
from dlcli.tasks.supervised import Supervised, supervised


@register("task", "language")
def language(spec: DataSpec, *, label_smoothing: Annotated[float, Range(0, 1, open_high=True)]) -> Supervised:
    """Language model: softmax over the vocabulary at every position, from the tokens up to it; nats per token.

    Perplexity and bits per character are other readings of the same loss over the whole split. A user meets UsageError
    for a data set that is not made of tokens.
    """
    if spec.vocabulary is None or spec.classes:
        raise UsageError(
            f"task=language needs a sequence of tokens to continue, and data set {spec.name} has "
            + ("classes" if spec.classes else "numbers"),
            "use dataset=text or copy_memory, or task=auto, which chooses by the data",
        )
    risks = {
        "loss": metrics.CROSS_ENTROPY,
        "error": metrics.ZERO_ONE,
        "perplexity": metrics.PERPLEXITY,
        "bits_per_character": metrics.bits_per_character(spec.vocabulary.characters),
    }
    objective = partial(metrics.cross_entropy, smoothing=label_smoothing)
    return supervised(spec._replace(causal=True), len(spec.vocabulary.tokens), objective, risks)


@torch.inference_mode()
def generate(
    model: nn.Module,
    prompt: Tensor,
    count: int,
    window: int,
    temperature: float,
    top_k: int | None,
    generator: Generator,
) -> Tensor:
    """`prompt` (batch, length >= 1) and `count` more tokens, each drawn given the last `window` before it.

    A temperature of 0 takes the likeliest token; `top_k` draws among so many. The generator lives on the CPU, so that
    the device does not change what is written. The model is taken as it is: call `eval()` before.
    """
    text = prompt
    for _ in range(count):
        scores = widen(model(text[:, -window:])[:, -1]).cpu()  # (batch, vocabulary)
        if top_k is not None and top_k < scores.shape[1]:
            least = scores.topk(top_k).values[:, -1:]
            scores = scores.masked_fill(scores < least, -torch.inf)
        if temperature == 0:
            token = scores.argmax(1, keepdim=True)
        else:
            token = torch.multinomial((scores / temperature).softmax(1), 1, generator=generator)
        text = torch.cat([text, token.to(text.device)], 1)
    return text
