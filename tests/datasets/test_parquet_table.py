from __future__ import annotations

import datetime
import decimal

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from dlcli.datasets.csv_table import csv_table
from dlcli.datasets.parquet_table import parquet_table
from dlcli.errors import DataError

TABLE = {
    "target": -1,
    "features": None,
    "kind": "auto",
    "split": None,
    "validation_path": None,
    "test_path": None,
}
DEFAULTS = {**TABLE, "streaming": "auto"}
PLAIN = {"width": [1.5, -2.0, 300.0, 0.25], "colour": ["red", "blue", "red", "green"], "label": list("abab")}


def write(path, columns, **options):
    parquet.write_table(pyarrow.table(columns), path, **options)
    return str(path)


@pytest.fixture
def load(tmp_path):
    def write_and_read(columns, **changed):
        return parquet_table(path=write(tmp_path / "my.parquet", columns), **{**DEFAULTS, **changed})

    return write_and_read


@pytest.fixture
def refusal(load):
    def read_and_fail(columns, **changed):
        with pytest.raises(DataError) as caught:
            load(columns, **changed)
        for text in (caught.value.message, caught.value.hint):
            assert len(text) <= 200 and text.isprintable()
        return caught.value.message.split("my.parquet'")[-1].lstrip(",: ")

    return read_and_fail


def test_a_table_reads_like_the_same_table_as_csv(load, tmp_path):
    lines = [",".join(PLAIN), *(",".join(map(str, row)) for row in zip(*PLAIN.values(), strict=True))]
    (tmp_path / "my.csv").write_text("\n".join(lines))
    ours, theirs = load(PLAIN), csv_table(path=str(tmp_path / "my.csv"), delimiter="auto", **TABLE)
    for part in ("inputs", "targets"):
        assert np.array_equal(getattr(ours.train, part), getattr(theirs.train, part))
    assert (ours.classes, ours.notes) == (theirs.classes, theirs.notes)


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([1, 2, 3, 2], pyarrow.int8()),
        pyarrow.array([1, 2, 3, 2], pyarrow.uint64()),
        pyarrow.array([1, 2, 3, 2], pyarrow.float32()),
        pyarrow.array([1, 2, 3, 2], pyarrow.float64()).dictionary_encode(),
        pyarrow.array([decimal.Decimal(i) for i in (1, 2, 3, 2)], pyarrow.decimal128(9, 3)),
    ],
    ids=lambda column: str(column.type)[:20],
)
def test_every_kind_of_number_is_read(load, column):
    assert load({"x": column, "y": list("abab")}).train.inputs.tolist() == [[1], [2], [3], [2]]


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.large_string(), pyarrow.string_view()], ids=str)
def test_every_kind_of_text_is_read(load, kind):
    column = pyarrow.array(["p", " q", "p", "q"], kind)
    assert load({"x": column, "y": list("abab")}).train.inputs.tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]


def test_booleans_and_categories_over_row_groups_are_read(tmp_path):
    columns = {
        "x": [True, False, True, True],
        "y": pyarrow.array(["b", "a", "a", "b"]).dictionary_encode(),
    }
    source = parquet_table(path=write(tmp_path / "my.parquet", columns, row_group_size=1), **DEFAULTS)
    assert source.train.inputs.tolist() == [[1], [0], [1], [1]]
    assert source.train.targets.tolist() == [1, 0, 0, 1] and source.classes == ("a", "b")


def test_the_row_numbers_that_pandas_adds_are_no_feature(load):
    assert load({"x": [1.0, 2.0], "y": ["a", "b"], "__index_level_0__": [0, 1]}).train.inputs.tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1.0, None, 2.0, 3.0], "row 2, column 'x': missing"),
        ([1.0, 2.0, float("nan"), 3.0], "row 3, column 'x': nan is not finite, or beyond float32"),
        (["p", "q", " ", "p"], "row 3, column 'x': missing"),
        (["p", "q", None, "p"], "row 3, column 'x': missing"),
        ([[1, 2], [3], [4], [5]], "column 'x': type list<element: int64> is no input"),
        ([{"p": 1}] * 4, "column 'x': type struct<p: int64> is no input"),
        ([datetime.date(2020, 1, 1)] * 4, "column 'x': type date32[day] is no input"),
        ([b"p"] * 4, "column 'x': type binary is no input"),
    ],
)
def test_cells_and_types_that_are_no_inputs_are_refused(refusal, column, message):
    assert refusal({"x": column, "y": list("abab")}) == message


def test_an_extension_type_is_refused_and_never_run(refusal):
    column = pyarrow.ExtensionArray.from_storage(pyarrow.uuid(), pyarrow.array([b"0" * 16] * 4, pyarrow.binary(16)))
    assert refusal({"x": column, "y": list("abab")}) == "column 'x': type extension<arrow.uuid> is no input"


def test_other_columns_may_be_anything(load):
    assert load({"x": [1.0, 2.0], "junk": [[1], None], "y": ["a", "b"]}, features=["x"]).train.inputs.shape == (2, 1)


def test_millions_of_rows_in_a_few_kilobytes_are_refused_unread(tmp_path):
    nothing = pyarrow.nulls(140_000_000)
    path = write(tmp_path / "my.parquet", {"x": nothing, "y": nothing}, row_group_size=len(nothing))
    assert (tmp_path / "my.parquet").stat().st_size < 500_000
    with pytest.raises(DataError, match="declares 140000000 rows of 2 columns, too many for memory"):
        parquet_table(path=path, **DEFAULTS)


def test_a_long_text_in_many_rows_is_kept_once(load):
    text = pyarrow.DictionaryArray.from_arrays(np.arange(20_000, dtype=np.int32) % 2, ["p" * 100_000, "q" * 100_000])
    source = load({"x": text, "y": [0.5, 1.5] * 10_000})  # 2 GB as plain texts
    assert source.train.inputs[:2].tolist() == [[1, 0], [0, 1]]


def test_no_rows_and_another_format_are_refused(refusal, tmp_path):
    assert (
        refusal({"x": pyarrow.array([], pyarrow.float64()), "y": pyarrow.array([], pyarrow.string())}) == "has no rows"
    )
    (tmp_path / "text.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="is no readable parquet file"):
        parquet_table(path=str(tmp_path / "text.parquet"), **DEFAULTS)


def test_another_type_in_another_file_is_refused(refusal, tmp_path):
    path = write(tmp_path / "test.parquet", {"width": ["p", "q"], "colour": ["red", "red"], "label": ["a", "b"]})
    with pytest.raises(DataError, match="column 'width': text, where training has numbers"):
        parquet_table(path=write(tmp_path / "train.parquet", PLAIN), **{**DEFAULTS, "test_path": path})


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_read_never_another_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    sink = pyarrow.BufferOutputStream()
    compression = data.draw(st.sampled_from(["none", "snappy", "zstd", "gzip"]))
    parquet.write_table(pyarrow.table(PLAIN), sink, compression=compression)
    content = bytearray(sink.getvalue().to_pybytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    (folder / "my.parquet").write_bytes(content)
    try:
        source = parquet_table(path=str(folder / "my.parquet"), **DEFAULTS)
    except DataError as fault:
        assert len(fault.message) <= 200 and fault.message.isprintable()
    else:
        assert np.isfinite(source.train.inputs).all()
