"""Text to tokens and back: one token per character, or byte pairs learned from the text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from dlcli.datasets.wording import quote
from dlcli.errors import DataError, UsageError

CHUNK = 1 << 20  # characters that are split into byte pairs at a time
BYTES = 256  # tokens that byte pairs start from


class Characters:
    """A token per character that occurs, in the order of their code points."""

    def __init__(self, text: str):
        present = np.zeros(0x110000, bool)
        present[codes(text)] = True
        self.tokens = tuple(map(chr, np.flatnonzero(present)))
        self.characters = (1,) * len(self.tokens)
        self._numbers = np.where(present, np.cumsum(present, dtype=np.int32) - 1, -1)

    def encode(self, text: str) -> np.ndarray:
        """(n,) int32. DataError for a character that is not in the vocabulary."""
        numbers = self._numbers[codes(text)]
        if len(numbers) and numbers.min() < 0:
            raise DataError(
                f"the text has {quote(text[int(numbers.argmin())])}, which the vocabulary lacks",
                f"its {len(self.tokens)} characters are {quote(''.join(self.tokens), 120)}",
            )
        return numbers

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.tokens[token] for token in tokens)


class BytePairs:
    """Tokens learned by merging the commonest neighbours, starting from the 256 bytes, so that any text has tokens.

    Source: Sennrich, Haddow & Birch 2015, arXiv:1508.07909, on bytes as in GPT-2 (Radford et al. 2019).
    """

    def __init__(self, text: str, size: int):
        if find_spec("tokenizers") is None:
            raise UsageError(
                "dataset.tokens=byte_pairs needs the package tokenizers, which is not installed",
                "pip install tokenizers, or use dataset.tokens=characters",
            )
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # optional

        self._tokenizer: Any = Tokenizer(models.BPE())
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
        self._tokenizer.train_from_iterator(chunks(text), trainer)
        self.tokens = tuple(map(self._tokenizer.id_to_token, range(self._tokenizer.get_vocab_size())))
        self.characters = tuple(sum(letter not in CONTINUATIONS for letter in token) for token in self.tokens)

    def encode(self, text: str) -> np.ndarray:
        """(n,) int32."""
        parts = [np.array(self._tokenizer.encode(chunk).ids, np.int32) for chunk in chunks(text)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def decode(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(list(tokens))


def codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def chunks(text: str) -> Iterator[str]:
    """The text in pieces, at ends of lines where there are any: splitting takes a hundred times their memory."""
    start = 0
    while start < len(text):
        end = text.rfind("\n", start, start + CHUNK) + 1 if start + CHUNK < len(text) else len(text)
        end = end or start + CHUNK
        yield text[start:end]
        start = end


def byte_letters() -> dict[int, str]:
    """How byte-level tokens write a byte: itself where it is a visible Latin-1 character, else the next free letter."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(BYTES) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(BYTES + i) for i, byte in enumerate(hidden)}


# Bytes that go on with a character; each other byte begins one.
CONTINUATIONS = frozenset(letter for byte, letter in byte_letters().items() if 0x80 <= byte < 0xC0)
