import numpy as np
import pytest

from dlcli.datasets import vocabularies
from dlcli.datasets.vocabularies import BytePairs, Characters
from dlcli.errors import DataError

TEXT = "Grüße, naïve 世界! 🙂\n\tthe theory of the thing; the other thing.\r\n" * 30


def test_characters_are_numbered_by_code_point_and_come_back():
    vocabulary = Characters("banana 🙂é")
    assert vocabulary.tokens == (" ", "a", "b", "n", "é", "🙂")
    assert vocabulary.encode("ba 🙂").tolist() == [2, 1, 0, 5]
    assert vocabulary.decode(vocabulary.encode("banana é🙂")) == "banana é🙂"


def test_an_unknown_character_is_refused_with_those_that_are_known():
    with pytest.raises(DataError) as refusal:
        Characters("abc").encode("abxc")
    assert refusal.value.message == "the text has 'x', which the vocabulary lacks"
    assert refusal.value.hint == "its 3 characters are 'abc'"


def test_byte_pairs_give_back_the_text_and_any_other():
    pytest.importorskip("tokenizers", reason="byte pairs need the package tokenizers")
    vocabulary = BytePairs(TEXT, 300)
    for text in (TEXT, "Ωmega unseen \x00 \u202e"):
        assert vocabulary.decode(vocabulary.encode(text)) == text
    assert len(vocabulary.encode(TEXT)) < 0.5 * len(TEXT.encode()) and 256 < len(vocabulary.tokens) <= 300


def test_the_characters_of_the_tokens_add_up_to_those_of_the_text():
    pytest.importorskip("tokenizers", reason="byte pairs need the package tokenizers")
    vocabulary = BytePairs("a", 257)  # single bytes: characters of several bytes are broken apart
    tokens = vocabulary.encode(TEXT)
    assert np.array(vocabulary.characters)[tokens].sum() == len(TEXT) < len(tokens)


def test_pieces_of_a_long_text_are_the_text(monkeypatch):
    monkeypatch.setattr(vocabularies, "CHUNK", 50)
    for text in (TEXT, "x" * 173, "", "\n" * 120):
        assert "".join(vocabularies.chunks(text)) == text
    assert all(piece.endswith("\n") for piece in vocabularies.chunks(TEXT))
