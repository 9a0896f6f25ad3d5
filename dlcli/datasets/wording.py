"""How a foreign text (a cell, a file name) is shown in one line of an error message."""

from __future__ import annotations


def quote(value: object, limit: int = 50) -> str:
    """`value` in quotes: control and invisible characters escaped, the middle left out beyond `limit` characters."""
    text = "".join(map(_visible, _cut(str(value), limit)))
    return f"'{_cut(text, limit)}'"


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    tail = (limit - 3) // 2
    return f"{text[: limit - 3 - tail]}...{text[-tail:]}"


def count(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
