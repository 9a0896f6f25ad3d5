from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv as pyarrow_csv

from dlcli.datasets import csv_table as module
from dlcli.datasets.csv_table import csv_table
from dlcli.errors import DataError, UsageError

DEFAULTS = {
    "target": -1,
    "features": None,
    "kind": "auto",
    "delimiter": "auto",
    "split": None,
    "validation_path": None,
    "test_path": None,
}
PLAIN = "width,colour,label\n" + "1.5,red,a\n-2,blue,b\n3e2,red,a\n0.25,green,b\n"


@pytest.fixture
def load(tmp_path):
    def write_and_read(content, **changed):
        path = tmp_path / "my.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return csv_table(path=str(path), **{**DEFAULTS, **changed})

    return write_and_read


@pytest.fixture
def refusal(load):
    """The error message, without the path before the line."""

    def read_and_fail(content, **changed):
        with pytest.raises(DataError) as caught:
            load(content, **changed)
        for text in (caught.value.message, caught.value.hint):
            assert len(text) <= 200 and text.isprintable()
        return caught.value.message.split("my.csv'")[-1].lstrip(",: ")

    return read_and_fail


def test_the_last_column_is_the_target_and_texts_become_one_hot(load):
    source = load(PLAIN)
    # blue, green, red
    expected = [[1.5, 0, 0, 1], [-2, 1, 0, 0], [300, 0, 0, 1], [0.25, 0, 1, 0]]
    assert source.train.inputs.tolist() == expected
    assert source.train.targets.tolist() == [0, 1, 0, 1]
    assert source.classes == ("a", "b")
    assert source.test is None and source.validation is None


def test_numbers_are_those_that_pyarrow_reads(load):
    numbers = np.random.default_rng(0).standard_normal((5000, 4)) * 10.0 ** np.arange(-9, 9, 5)
    text = "p,q,r,s\n" + "\n".join(",".join(map(repr, row)) for row in numbers.tolist())
    source = load(text, target="s")
    reference = pyarrow_csv.read_csv(io.BytesIO(text.encode()))
    for i, name in enumerate("pqr"):
        assert np.array_equal(source.train.inputs[:, i], reference[name].to_numpy())
    assert np.array_equal(source.train.targets[:, 0], reference["s"].to_numpy())
    assert source.classes == ()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_in_the_header_outside_quotes(load, delimiter):
    source = load(f'"a,;|,;|b"{delimiter}c{delimiter}d\n1{delimiter}2{delimiter}x\n3{delimiter}4{delimiter}y\n')
    assert source.train.inputs.tolist() == [[1, 2], [3, 4]]


def test_byte_order_mark_crlf_and_empty_lines_are_passed_over(load):
    assert load("﻿\r\n" + PLAIN.replace("\n", "\r\n") + "\r\n\r\n").classes == ("a", "b")


def test_a_split_column_gives_the_splits_and_categories_come_from_train(load):
    text = "x,colour,y,part\n1,red,a,train\n2,blue,b,train\n3,green,a,test\n4,red,b,val\n"
    source = load(text, target="y", split="part")
    assert source.train.inputs.tolist() == [[1, 0, 1], [2, 1, 0]]
    assert source.test.inputs.tolist() == [[3, 0, 0]]
    assert source.validation.targets.tolist() == [1]
    assert source.notes == (
        "1 row of test have a category of 'colour' that training never saw; it is encoded as zeros",
    )


def test_other_files_give_the_other_splits(load, tmp_path):
    (tmp_path / "test.csv").write_text("label,width,more,colour\nb,7,0,red\n")
    source = load(PLAIN, test_path=str(tmp_path / "test.csv"))
    assert source.test.inputs.tolist() == [[7, 0, 0, 1]] and source.test.targets.tolist() == [1]


def test_a_class_that_training_never_saw_is_refused(refusal):
    text = "x,y,part\n1,a,train\n2,b,train\n3,c,test\n"
    assert refusal(text, target="y", split="part") == "line 4, column 'y': class 'c' is not in the training split"


def test_repeated_whole_numbers_are_classes_and_others_a_regression(load):
    rows = "".join(f"{i}.5,{i % 3}\n" for i in range(12))
    assert load("x,y\n" + rows).classes == ("0", "1", "2")
    assert load("x,y\n" + rows, kind="regression").train.targets.tolist() == [[i % 3] for i in range(12)]
    assert load("y,x\n" + rows).classes == ("0", "1", "2")
    assert load("y,x\n" + rows, target="y").classes == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n1,2,x\n3,4\n", "line 3: 2 cells, 3 columns"),
        ("a,b,c\n1,2,x\n3,4,5,y\n", "line 3: 4 cells, 3 columns"),
        ('a,b\n"1\n2",x\n\n3,4,5\n', "line 5: 3 cells, 2 columns"),
        ("a b c\n1 2 x\n", "line 1: one column only, with delimiter ','"),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", "line 1: numbers where the names of the columns should be"),
        ("0,1,2\n3,4,5\n", "line 1: numbers where the names of the columns should be"),
        ("a,a,b\n1,2,x\n", "column 'a' occurs twice"),
        (",a,b\n0,2,x\n", "column 1 has no name"),
        ("a,b\n", "has a header and no rows"),
        ("a,b\n1,x\nNA,y\n", "line 3, column 'a': missing"),
        ("a,b\n1,x\n,y\n", "line 3, column 'a': missing"),
        ("a,b\n1,x\n2,\n", "line 3, column 'b': missing"),
        ("a,b\n1,x\ninf,y\n", "line 3, column 'a': 'inf' is not finite, or beyond float32"),
        ("a,b\n1,x\n1e39,y\n", "line 3, column 'a': '1e39' is not finite, or beyond float32"),
        ("a,b\n1,x\n2,x\noops,y\n", "line 4, column 'a': 'oops' is no number"),
        ("a;b\n1,5;x\n2,5;y\n", "line 2, column 'a': '1,5' has a comma"),
        ('a,b\n1,x\n2,"y\n', "line 3: unexpected end of data"),
        ("a,b\n1,x\n\x1b[31mred\x07,y\n2,x\n3,x\n", r"line 3, column 'a': '\x1b[31mred\x07' is no number"),
        ("a,b\n1,x\n2,x\n" + "z" * 9999 + ",y\n", f"line 4, column 'a': '{'z' * 14}...{'z' * 13}' is no number"),
        (b"a,b\n1,caf\xe9\n", "line 2: byte 0xe9 is no UTF-8"),
        (b"a,b\n1,x\n2,\0y\n", "line 3: a NUL byte"),
        ("a,b\n1,x\n".encode("utf-16"), "line 1: a NUL byte"),
    ],
)
def test_the_line_and_column_of_a_fault_are_named(refusal, text, message):
    assert refusal(text) == message


def test_pixels_may_be_named_by_numbers(load):
    assert load("label,0,1\na,5,6\nb,7,8\n", target=0).train.inputs.tolist() == [[5, 6], [7, 8]]


def test_a_line_longer_than_the_limit_is_never_held(refusal, monkeypatch):
    monkeypatch.setattr(module, "GREATEST_LINE", 1000)
    assert refusal(b"a,b\n1,x\n" + b"7" * 5000) == "line 3: longer than 1000 bytes"


def test_too_many_columns_are_refused(refusal):
    assert refusal(",".join(f"c{i}" for i in range(20_001)) + "\n").startswith("has 20001 columns; at most 20000")


def test_too_many_categories_are_refused(refusal):
    rows = "".join(f"name{i},{i % 2}\n" for i in range(1001))
    assert refusal("id,y\n" + rows) == "text column 'id' has 1001 different values"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"target": "lable"}, "has no column 'lable'"),
        ({"target": 3}, "has 3 columns; there is no target 3"),
        ({"features": ["widht"]}, "has no column 'widht'"),
        ({"features": ["label"]}, "column 'label' is both target and feature"),
        ({"split": "colour"}, "line 2, column 'colour': 'red' is no split"),
        ({"kind": "regression"}, "line 2, column 'label': 'a' is no number, as a regression needs"),
        ({"delimiter": "tab"}, r"line 1: one column only, with delimiter '\t'"),
    ],
)
def test_settings_that_do_not_fit_the_table_are_refused(refusal, changed, message):
    assert refusal(PLAIN, **changed) == message


def test_the_nearest_name_is_suggested(load):
    with pytest.raises(DataError) as caught:
        load(PLAIN, target="lable")
    assert caught.value.hint == "did you mean 'label'?"


def test_a_path_is_needed():
    with pytest.raises(UsageError, match=r"dataset=csv needs dataset\.path"):
        csv_table(path=None, **DEFAULTS)


def test_numbers_that_turn_into_texts_after_a_chunk_are_read_as_they_were_written(load):
    late = "".join(f"{'t' + str(i % 7) if i > 5000 else '1.50'},{i % 2}\n" for i in range(12_000))
    source = load("x,y\n" + late)
    assert source.train.inputs.shape == (12_000, 8)
    assert source.train.inputs[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_read_never_another_error(tmp_path_factory, data):
    content = bytearray(PLAIN.replace("green", '"gr, een"').encode())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path_factory.mktemp("damaged") / "my.csv"
    path.write_bytes(content)
    try:
        source = csv_table(path=str(path), **DEFAULTS)
    except DataError as fault:
        assert len(fault.message) <= 200 and fault.message.isprintable()
    else:
        rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")) if row]
        assert len(source.train.inputs) == len(rows) - 1
        assert np.isfinite(source.train.inputs).all()
