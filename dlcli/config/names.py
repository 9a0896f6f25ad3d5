"""Which name the user meant."""

from __future__ import annotations

from collections.abc import Iterable

MAX_WORD = 60  # letters that are compared; a typo of a name is no longer
WORTH_SUGGESTING = 0.55  # similarity below which a suggestion is more puzzling than none


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The name that `word` most probably is a slip of; None if nothing is close.

    A name that agrees in its last part wins (`lr` for `optimizer.lr`), then the least edit distance per letter.
    """
    word, candidates = word[:MAX_WORD], list(names)
    leaf = [name for name in candidates if name.rpartition(".")[2] == word.rpartition(".")[2]]
    ranked = sorted(leaf if "." not in word and leaf else candidates, key=lambda name: (-similarity(word, name), name))
    if not ranked:
        return None
    close = similarity(word, ranked[0]) >= WORTH_SUGGESTING or edits(word, ranked[0]) == 1  # `lx` for `lr`
    return ranked[0] if close or ranked[0] in leaf else None


def similarity(left: str, right: str) -> float:
    """1 for equal words, 0 for unrelated ones: one minus the edits per letter of the longer word."""
    return 1 - edits(left.lower(), right.lower()) / max(len(left), len(right), 1)


def edits(left: str, right: str) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours between two words (optimal string alignment)."""
    before: list[int] = []
    previous = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        row = [i]
        for j, b in enumerate(right, 1):
            cost = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, previous = previous, row
    return previous[-1]


def suggestion(name: str | None, listing: str) -> str:
    """A hint that puts the probable name first and the legal ones after it."""
    return f"did you mean '{name}'? {listing}" if name else listing
