"""Reads and writes YAML files as plain data, and refuses whatever could not be taken at its word.

A file is walked event by event before anything is built from it: its size, nesting and aliases can cost no more than
milliseconds, and what YAML 1.1 would misread in silence (`012`, `12:30`, `no`) is refused with line and column.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml

from dlcli.config import folders
from dlcli.errors import UsageError

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_NODES = 2_000  # with every alias written out; Hydra takes a second for ten thousand

EXPONENT = re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")  # 1e-4: a text to YAML 1.1
CONTROL = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
REFERENCE = re.compile(r"\$\{[\w.\-\[\]]+\}")  # ${training.epochs}, a key of the same config
OCTAL = re.compile(r"[-+]?0[0-9_]+")
SIXTIES = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
GROUPED = re.compile(r"[-+]?[0-9]+_[0-9_]*(?:\.[0-9_]*)?")
WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


class File(NamedTuple):
    """What a YAML file says, and where."""

    path: Path
    text: str
    data: dict[str, Any]
    lines: dict[str, int]  # dotted key -> line number

    def under(self, package: str) -> File:
        """The same with its keys as the composed config names them."""
        return self._replace(lines={f"{package}.{k}": n for k, n in self.lines.items()}) if package else self


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML as people write it: 1e-4 is a number, 2024-01-01 stays text."""


class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):
    """The counterpart of `Loader`: quotes a text that it would take for a number."""


for reader in (Loader, Dumper):
    reader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if not tag.endswith(":timestamp")]
        for first, pairs in reader.yaml_implicit_resolvers.items()
    }
    reader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("+-.0123456789"))


def read(path: Path) -> File:
    """The content of one file, a mapping; UsageError with file:line:column for everything that is refused."""
    shown = folders.shown(path)
    text = _text(path, shown)
    try:
        lines = _Scan(shown).run(text)
        data = yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        hint = "check indentation (spaces), quotes, brackets"
        _refuse(shown, mark, f"not YAML: {fault.problem or fault.context}", hint)
    except ValueError:
        raise UsageError(f"{shown}: a number of thousands of digits", "no setting takes such a number") from None
    if not isinstance(data, dict):
        what = "empty" if data is None else "not a mapping of keys to values"
        raise UsageError(f"{shown}:1:1: the file is {what}", "write one `key: value` per line")
    return File(shown, text, data, lines)


def write(data: dict[str, Any]) -> str:
    """`data` as YAML text that `read` gives back unchanged, keys in their order."""
    return yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def size(value: Any) -> int:
    """Nodes of plain data, as `read` counts them up to MAX_NODES."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(size, inner))


def foreign_interpolation(text: str) -> bool:
    """Whether `text` holds an interpolation other than a plain reference to a key, such as `${oc.env:HOME}`."""
    return "${" in REFERENCE.sub("", text)


def _text(path: Path, shown: Path) -> str:
    try:
        if not path.is_file():
            what = "a directory" if path.is_dir() else "not a regular file" if path.exists() else "not there"
            raise UsageError(f"config file {shown} is {what}", "name a YAML file, such as conf/experiment/mine.yaml")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UsageError(f"{shown} has {size} bytes", f"a config file may have {MAX_BYTES}")
        raw = path.read_bytes()
    except OSError as fault:
        raise UsageError(f"cannot read {shown}: {fault.strerror}", "check its permissions") from None
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{shown}:1:1: the file starts with a byte-order mark", "save it as UTF-8 without BOM")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as fault:
        line, column = _position(raw[: fault.start].decode("utf-8"))
        raise UsageError(
            f"{shown}:{line}:{column}: byte {raw[fault.start]:#x} is not UTF-8", "save it as UTF-8"
        ) from None
    if control := CONTROL.search(text):
        line, column = _position(text[: control.start()])
        raise UsageError(f"{shown}:{line}:{column}: control character {control[0]!a}", "remove it")
    return text


def _position(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _refuse(path: Path, mark: Any, problem: str, hint: str) -> NoReturn:
    where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
    raise UsageError(f"{where}: {problem}", hint)


class _Node:
    """A mapping or a list that is being walked."""

    def __init__(self, prefix: str, mapping: bool, anchor: str | None):
        self.prefix, self.mapping, self.anchor = prefix, mapping, anchor
        self.keys: set[str] = set()
        self.key: str | None = None  # of the value that comes next; None: a key comes next
        self.size = 1


class _Scan:
    """One walk over the events of a file."""

    def __init__(self, path: Path):
        self.path = path
        self.open: list[_Node] = []
        self.anchors: dict[str, int] = {}  # closed anchor -> nodes under it
        self.lines: dict[str, int] = {}
        self.documents = 0

    def run(self, text: str) -> dict[str, int]:
        for event in yaml.parse(text, Loader=Loader):
            if isinstance(event, yaml.NodeEvent):
                self.node(event)
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                self.close(event)
            elif isinstance(event, yaml.DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    _refuse(self.path, event.start_mark, "a second document starts here", "one file, one config")
        return self.lines

    def node(self, event: Any) -> None:
        parent = self.open[-1] if self.open else None
        is_key = parent is not None and parent.mapping and parent.key is None
        if getattr(event, "tag", None):
            _refuse(
                self.path, event.start_mark, f"YAML tag {event.tag!r}", "a config holds plain values; remove the tag"
            )
        if is_key and not isinstance(event, yaml.ScalarEvent):
            _refuse(self.path, event.start_mark, "a key must be one word", "put quotes around ${...} inside { }")
        if isinstance(event, yaml.ScalarEvent):
            self.scalar(event)
            if is_key:
                self.key(parent, event)
                return
            self.count(event, 1, event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                _refuse(self.path, event.start_mark, f"alias *{event.anchor} before the end of its anchor", "remove it")
            self.count(event, self.anchors[event.anchor], None)
        else:
            if len(self.open) >= MAX_DEPTH:
                _refuse(self.path, event.start_mark, f"nested deeper than {MAX_DEPTH} levels", "a config is shallow")
            prefix = f"{parent.prefix}{parent.key}." if parent and parent.key else ""
            self.open.append(_Node(prefix, isinstance(event, yaml.MappingStartEvent), event.anchor))

    def key(self, parent: _Node, event: Any) -> None:
        if event.value in parent.keys:
            first = self.lines[parent.prefix + event.value]
            _refuse(self.path, event.start_mark, f"duplicate key {event.value!r}, first on line {first}", "keep one")
        parent.keys.add(event.value)
        parent.key = event.value
        self.lines.setdefault(parent.prefix + event.value, event.start_mark.line + 1)

    def scalar(self, event: Any) -> None:
        value, mark = event.value, event.start_mark
        if foreign_interpolation(value):
            hint = "only references to keys of the config, such as ${training.epochs}"
            _refuse(self.path, mark, "interpolation with a resolver", hint)
        if not event.implicit[0]:
            return  # quoted: what is written is what is meant
        if value.lower() in WORDS:
            spelled = WORDS[value.lower()]
            _refuse(
                self.path,
                mark,
                f"{value} reads as {spelled} in YAML 1.1",
                f'write {spelled}, or "{value}" for the text',
            )
        if OCTAL.fullmatch(value):
            hint = f'write {value.replace("_", "").lstrip("+-0") or 0}, or "{value}" for the text'
            _refuse(self.path, mark, f"{value} reads as an octal number", hint)
        if SIXTIES.fullmatch(value):
            _refuse(self.path, mark, f"{value} reads as a number to base sixty", f'write "{value}" with quotes')
        if GROUPED.fullmatch(value):
            hint = f'write {value.replace("_", "")}, or "{value}" for the text'
            _refuse(self.path, mark, f"{value} reads as a number", hint)

    def count(self, event: Any, size: int, anchor: str | None) -> None:
        """Book a finished value of `size` nodes in the container around it."""
        if anchor:
            self.anchors[anchor] = size
        if not self.open:
            return
        self.open[-1].size += size
        self.open[-1].key = None
        if self.open[-1].size > MAX_NODES:
            _refuse(
                self.path, event.start_mark, f"more than {MAX_NODES} values", "a config is small; check the aliases"
            )

    def close(self, event: Any) -> None:
        closed = self.open.pop()
        self.count(event, closed.size, closed.anchor)
