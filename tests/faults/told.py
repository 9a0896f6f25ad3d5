"""What a user sees of a fault: one `error:` line, one `hint:` line, nothing else that is long or dangerous."""

from __future__ import annotations

LONGEST = 200


def told(ended, code: int, *fragments: str) -> str:
    """The text on stderr, after it was checked. Further problems may be listed as indented lines between the two."""
    lines = [line for line in ended.err.splitlines() if not line.startswith("warning: ")]
    assert ended.code == code, f"exit code {ended.code}, not {code}: {ended.out[-500:]}\n{ended.err}"
    assert sum(line.startswith("error: ") for line in lines) == 1, ended.err
    assert sum(line.startswith("hint: ") for line in lines) == 1, ended.err
    first, last = lines.index(next(line for line in lines if line.startswith("error: "))), len(lines) - 1
    assert first == 0 and lines[last].startswith("hint: "), ended.err
    assert all(line.startswith("  ") for line in lines[1:last]), ended.err
    for line in ended.err.splitlines():
        assert len(line) <= LONGEST and line.isprintable(), repr(line)
    for fragment in fragments:
        assert fragment in ended.err, f"{fragment!r} is not in {ended.err}"
    return ended.err
