import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcli.training.strict_json import LIMIT, dump, parse, parse_object

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(PLAIN)
def test_plain_data_come_back(value):
    assert parse(dump(value)) == value


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_value_error(document):
    with suppress(ValueError):
        parse(document)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_not_written(number):
    with pytest.raises(ValueError, match="Out of range float values"):
        dump({"risk": number})


@pytest.mark.parametrize("document", [b"NaN", b"-Infinity", b"1e999", b'{"a":1,"a":1}', b"[" * 10**5, b"1" * 5000, b""])
def test_doubtful_documents_are_refused(document):
    with pytest.raises(ValueError):
        parse(document)


def test_a_large_document_is_refused_unread():
    with pytest.raises(ValueError, match="more than"):
        parse(b" " * (LIMIT + 1))


def test_an_object_is_wanted():
    with pytest.raises(ValueError, match="not a JSON object"):
        parse_object(b"[]")
