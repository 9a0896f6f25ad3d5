"""The next token at every position, and the text that follows from it."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import torch
from torch import Tensor, nn

from dlcli.errors import UsageError
from dlcli.metrics import next_token
from dlcli.metrics.mean import widen
from dlcli.protocols import Bound, DataSpec, Noise, Split
from dlcli.registry import register
from dlcli.schema import Range
from dlcli.tasks.supervised import Supervised, supervised


class Language(Supervised):
    """A task whose every example makes a prediction at each position."""

    def bounds(self, model: nn.Module, train: Split) -> tuple[Bound, ...]:
        """Examples that begin alike get one prediction there, and go on differently."""
        inputs, targets = (part.cpu().numpy() for part in train.batch(slice(None)))
        value, alone = next_token.least_after_beginnings(inputs, targets)
        evidence = {"first_position_without_equal_beginnings": alone}
        method = "equal beginnings of windows that go on differently"
        return (Bound("lower", value, "certified", method, evidence=evidence),)

    def sample(self, model: nn.Module, count: int, noise: Noise) -> Tensor:
        """Texts as long as an example, (count, length); each starts with a token drawn uniformly."""
        draws, vocabulary = noise.uniform(self.spec.shape[0]), self.spec.outputs
        first = (draws[:, :1] * vocabulary).long()
        return generate(model, first, draws[:, 1:], self.spec.shape[0], temperature=1.0, top_k=None)


@register("task", "language")
def language(spec: DataSpec, *, label_smoothing: Annotated[float, Range(0, 1, open_high=True)]) -> Language:
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
        "loss": next_token.CROSS_ENTROPY,
        "error": next_token.ZERO_ONE,
        "perplexity": next_token.PERPLEXITY,
        "bits_per_character": next_token.bits_per_character(spec.vocabulary.characters),
    }
    objective = partial(next_token.mean_cross_entropy, smoothing=label_smoothing)
    return Language(*supervised(spec._replace(causal=True), len(spec.vocabulary.tokens), objective, risks))


@torch.inference_mode()
def generate(
    model: nn.Module, prompt: Tensor, draws: Tensor, window: int, temperature: float, top_k: int | None
) -> Tensor:
    """`prompt` (batch, 1 or more) and one more token per draw, each given the last `window` tokens before it.

    draws: (batch, count) uniform in [0, 1), the only randomness. A temperature of 0 takes the likeliest token; with
    `top_k` one of the likeliest so many is drawn. The model is taken as it is: call `eval()` before.
    """
    text = prompt
    for draw in draws.double().T.contiguous():
        scores = widen(model(text[:, -window:])[:, -1])  # (batch, vocabulary)
        if top_k is not None and top_k < scores.shape[1]:
            scores = scores.masked_fill(scores < scores.topk(top_k).values[:, -1:], -torch.inf)
        if temperature == 0:
            token = scores.argmax(1, keepdim=True)
        else:
            shares = (scores.double() / temperature).softmax(1).cumsum(1)
            token = torch.searchsorted(
                shares / shares[:, -1:], draw[:, None], right=True
            )  # the first whose share exceeds it
        text = torch.cat([text, token], 1)
    return text
