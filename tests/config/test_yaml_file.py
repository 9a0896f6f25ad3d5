"""A5 to A8 of the catalogue: files that are not what they seem."""

import resource
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlcli.config import yaml_file
from dlcli.errors import UsageError

INDENT = "check indentation (spaces), quotes, brackets"


def bomb(levels):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "content, message, hint",
    [
        # A5 not YAML, or not text
        ("seed: 1\na: [1\n", ":3:1: not YAML: did not find expected ',' or ']'", INDENT),
        ("\tseed: 1\n", ":1:1: not YAML: found character that cannot start any token", INDENT),
        (b"\xef\xbb\xbfseed: 1\n", ":1:1: the file starts with a byte-order mark", "save it as UTF-8 without BOM"),
        (b"seed: 1\nname: caf\xe9\n", ":2:10: byte 0xe9 is not UTF-8", "save it as UTF-8"),
        (b"name: a\0b\n", ":1:8: control character '\\x00'", "remove it"),
        ("name: a\x1b[31m\n", ":1:8: control character '\\x1b'", "remove it"),
        ("", ":1:1: the file is empty", "write one `key: value` per line"),
        ("# nothing\n", ":1:1: the file is empty", "write one `key: value` per line"),
        ("- 1\n", ":1:1: the file is not a mapping of keys to values", "write one `key: value` per line"),
        ("seed: 1\n---\nseed: 2\n", ":2:1: a second document starts here", "one file, one config"),
        ("? [a]\n: 1\n", ":1:3: a key must be one word", "put quotes around ${...} inside { }"),
        # A6 a key twice
        ("seed: 1\nseed: 2\n", ":2:1: duplicate key 'seed', first on line 1", "keep one"),
        ("a:\n  b: 1\n  'b': 2\n", ":3:3: duplicate key 'b', first on line 2", "keep one"),
        # A7 more than it seems
        ("a: &a [*a]\n", ":1:8: alias *a before the end of its anchor", "remove it"),
        ("[" * 900, ":1:21: nested deeper than 20 levels", "a config is shallow"),
        ("{a: " * 10_000, ":1:81: nested deeper than 20 levels", "a config is shallow"),
        ("a: 1\n" * 10_000_000, " has 50000000 bytes", "a config file may have 1000000"),
        ("seed: " + "9" * 5000, ": a number of thousands of digits", "no setting takes such a number"),
        # A8 tags
        (
            "a: !!python/object/apply:os.system [id]\n",
            ":1:4: YAML tag 'tag:yaml.org,2002:python/object/apply:os.system'",
            "a config holds plain values; remove the tag",
        ),
        ("a: !!str 1\n", ":1:4: YAML tag 'tag:yaml.org,2002:str'", "a config holds plain values; remove the tag"),
        # A4 what YAML 1.1 would misread
        ("a: 012\n", ":1:4: 012 reads as an octal number", 'write 12, or "012" for the text'),
        ("a: 12:30\n", ":1:4: 12:30 reads as a number to base sixty", 'write "12:30" with quotes'),
        ("a: 1_000\n", ":1:4: 1_000 reads as a number", 'write 1000, or "1_000" for the text'),
        ("a: no\n", ":1:4: no reads as false in YAML 1.1", 'write false, or "no" for the text'),
        ("on: 1\n", ":1:1: on reads as true in YAML 1.1", 'write true, or "on" for the text'),
        # A11 what would read the environment
        (
            "a: ${oc.env:HOME}\n",
            ":1:4: interpolation with a resolver",
            "only references to keys of the config, such as ${training.epochs}",
        ),
        (
            "a: x${a.${b}}\n",
            ":1:4: interpolation with a resolver",
            "only references to keys of the config, such as ${training.epochs}",
        ),
    ],
)
def test_a_file_is_refused_with_line_and_column(write, content, message, hint):
    path = write(content)
    with pytest.raises(UsageError) as caught:
        yaml_file.read(path)
    assert (caught.value.message, caught.value.hint) == (f"conf/experiment/exp.yaml{message}", hint)


def test_brackets_that_a_parser_may_refuse_by_itself(write):
    """libyaml reads ahead of what it tells, and its newer releases stop at the thousandth."""
    with pytest.raises(UsageError) as caught:
        yaml_file.read(write("[" * 10_000))
    assert (caught.value.message.removeprefix("conf/experiment/exp.yaml"), caught.value.hint) in (
        (":1:21: nested deeper than 20 levels", "a config is shallow"),
        (":1:1001: not YAML: exceeded maximum nesting depth", "check indentation (spaces), quotes, brackets"),
    )


@pytest.mark.parametrize(
    "make, what",
    [
        (lambda path: path.mkdir(), "a directory"),
        (lambda path: path.symlink_to("nowhere"), "not there"),
        (lambda path: None, "not there"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    ],
)
def test_what_is_no_file_is_refused(here, make, what):
    make(Path("x.yaml"))
    with pytest.raises(UsageError, match=f"^config file x.yaml is {what}$"):
        yaml_file.read(Path("x.yaml"))


def test_an_alias_bomb_costs_no_time_and_no_memory(write):
    path = write(bomb(9))  # 9^9 values when written out
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError, match="more than 2000 values"):
        yaml_file.read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_small_aliases_are_fine(write):
    assert yaml_file.read(write("a: &x [1, 2]\nb: *x\n")).data == {"a": [1, 2], "b": [1, 2]}


def test_values_as_people_write_them(write):
    text = "a: 1e-4\nb: 2024-01-01\nc: '012'\nd: 1.5\ne: -3\nf: true\ng: null\nh: 0\ni: 1E+3\nj: ${a}\n"
    data = yaml_file.read(write(text)).data
    expected = {"a": 1e-4, "b": "2024-01-01", "c": "012", "d": 1.5, "e": -3, "f": True, "g": None, "h": 0, "i": 1e3}
    assert data == {**expected, "j": "${a}"}


def test_the_lines_of_nested_keys_are_known(write):
    lines = yaml_file.read(write("# x\nseed: 1\nmodel:\n  width: 3\n  more: {a: 1}\n")).lines
    assert lines == {"seed": 2, "model": 3, "model.width": 4, "model.more": 5, "model.more.a": 5}


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
TRAPS = [
    "no",
    "012",
    "12:30",
    "1_000",
    "1e-4",
    "null",
    "~",
    "2024-01-01",
    ".inf",
    "=",
    "<<",
    "",
    " a ",
    "a: b",
    "#",
    "0x1f",
]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES | st.sampled_from(TRAPS), min_size=1))
def test_what_is_written_is_read_back(here, data):
    path = Path("x.yaml")
    path.write_text(yaml_file.write(data), encoding="utf-8", newline="")
    try:
        assert yaml_file.read(path).data == data
    except UsageError as refused:
        assert "control character" in refused.message or "resolver" in refused.message


FRAGMENTS = [
    "a",
    ":",
    " ",
    "\n",
    "-",
    "[",
    "]",
    "{",
    "}",
    "&a",
    "*a",
    "!!x",
    "${",
    "}",
    "'",
    '"',
    "|",
    ">",
    "#",
    "%",
    "1",
    "\t",
]


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60)
    | st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(lambda x: "".join(x).encode())
)
def test_whatever_a_file_holds_it_is_read_or_refused(here, content):
    path = Path("x.yaml")
    path.write_bytes(content)
    try:
        file = yaml_file.read(path)
    except UsageError as refused:
        assert refused.hint
        return
    assert isinstance(file.data, dict)
    assert file.data == yaml.load(content, Loader=yaml_file.Loader)
