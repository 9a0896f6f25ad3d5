import logging
import re

import pytest

from dlcli.training.train_log import TrainLog, escaped


@pytest.fixture
def log(tmp_path):
    opened = TrainLog(tmp_path / "train.log")
    opened.open()
    yield opened.logger
    opened.close()


@pytest.fixture
def lines(tmp_path):
    return lambda: (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()


def test_a_record_is_a_line_with_time_and_level(log, lines):
    log.info("step %d", 3)
    (line,) = lines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO step 3", line)


def test_tracebacks_are_included(log, lines):
    try:
        raise ValueError("\x1b[31mred")
    except ValueError:
        log.exception("internal error")
    assert any("test_train_log.py" in line for line in lines())
    assert lines()[-1] == r"ValueError: \x1b[31mred"


def test_what_data_say_cannot_forge_a_line_or_move_the_cursor(log, lines):
    log.warning("class %s", "a\nERROR forged\x1b[2J\u202e\x00")
    (line,) = lines()
    assert line.endswith(r"WARNING class a\nERROR forged\x1b[2J\u202e\x00")


def test_handlers_of_others_hear_nothing(log):
    heard = []
    handler = logging.Handler()
    handler.emit = heard.append
    logging.getLogger().addHandler(handler)
    log.error("mine")
    logging.getLogger().removeHandler(handler)
    assert not heard


def test_a_second_opening_adds_to_the_file(tmp_path, lines):
    for word in ("first", "second"):
        opened = TrainLog(tmp_path / "train.log")
        opened.open()
        opened.logger.info(word)
        opened.close()
    assert [line.split()[-1] for line in lines()] == ["first", "second"]


def test_a_full_disk_is_one_warning_and_no_error(tmp_path, capsys):
    (tmp_path / "train.log").symlink_to("/dev/full")
    opened = TrainLog(tmp_path / "train.log")
    opened.open()
    for _ in range(3):
        opened.logger.info("lost")
    opened.close()
    assert capsys.readouterr().err == "warning: train.log is written no further ([Errno 28] No space left on device)\n"


@pytest.mark.parametrize(("text", "shown"), [("é ok", "é ok"), ("a\tb\r", r"a\tb\r"), ("\x9b\u2028", r"\x9b\u2028")])
def test_only_what_does_not_print_is_escaped(text, shown):
    assert escaped(text) == shown
