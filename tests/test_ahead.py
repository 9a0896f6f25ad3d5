"""Data read in a thread are the data that reading gives, faults included, and are kept for nobody."""

import gc
import threading
import weakref

import numpy as np
import pytest

from dlcli import ahead
from dlcli import config as configs
from dlcli.ahead import Ahead, read_source
from dlcli.build import read_data
from dlcli.errors import DataError

SECTION = configs.load_checked(["dataset=digits"])["dataset"]


def test_what_a_thread_has_read_is_handed_over_once(monkeypatch):
    threads = []

    def noted(section):
        threads.append(threading.current_thread())
        return read_source(section)

    monkeypatch.setattr(ahead, "read_source", noted)
    reads = Ahead(SECTION)
    first, again = reads(SECTION), reads(SECTION)
    assert threads[0] is not threading.current_thread() and threads[1] is threading.current_thread()
    assert np.array_equal(first.train.inputs, again.train.inputs) and first.train.inputs is not again.train.inputs
    inputs = weakref.ref(first.train.inputs)
    del first
    gc.collect()
    assert inputs() is None


def test_the_data_are_the_same():
    found, expected = read_data(SECTION, Ahead(SECTION)), read_data(SECTION)
    assert found.facts == expected.facts


def test_a_fault_is_raised_where_the_data_are_wanted(tmp_path):
    section = configs.load_checked(["dataset=csv", f"dataset.path={tmp_path / 'none.csv'}"])["dataset"]
    reads = Ahead(section)
    with pytest.raises(DataError) as raised:
        reads(section)
    with pytest.raises(DataError) as expected:
        read_source(section)
    assert (raised.value.message, raised.value.hint) == (expected.value.message, expected.value.hint)


def test_a_system_without_room_for_a_thread_reads_later(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert len(Ahead(SECTION)(SECTION).train.inputs)
