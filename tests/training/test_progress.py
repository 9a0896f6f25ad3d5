import io
import json
import os
import subprocess
import sys

import pytest

from dlcli.training.progress import EventLines, ProgressDisplay


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def watch(stream):
    with ProgressDisplay(stream) as display:
        display.start(1000)
        display.advance(500, 0.25, 12345.0)
        display.say("epoch 1  loss 0.25 [red]\x1b[2J")
        display.advance(1000, 0.125, 12345.0)
    return stream.getvalue()


def test_a_file_gets_one_plain_line_per_evaluation():
    assert watch(io.StringIO()) == "epoch 1  loss 0.25 [red]\\x1b[2J\n"


def test_a_terminal_gets_a_bar_with_loss_and_speed():
    shown = watch(Terminal())
    assert "500/1000" in shown and "loss 0.25" in shown and "12,345 samples/s" in shown
    assert "epoch 1  loss 0.25 [red]\\x1b[2J" in shown


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert watch(Terminal()) == "epoch 1  loss 0.25 [red]\\x1b[2J\n"


def test_the_bar_is_drawn_at_most_four_times_a_second(monkeypatch):
    drawn = []
    clock = iter(range(100_000))
    monkeypatch.setattr("dlcli.training.progress.time.monotonic", lambda: 100 + next(clock) / 1000)
    with ProgressDisplay(Terminal()) as display:
        display.start(1000)
        display._bar.refresh = lambda: drawn.append(1)
        for step in range(1000):
            display.advance(step, 0.1, 1.0)
    assert len(drawn) <= 9  # a clock of about two seconds, and the end


def test_a_closed_stream_stops_nothing():
    stream = io.StringIO()
    with ProgressDisplay(stream) as display:
        stream.close()
        display.say("lost")
        display.say("lost")


def test_no_stream_at_all_stops_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with ProgressDisplay() as display:
        display.start(10)
        display.say("lost")


def test_a_reader_that_leaves_does_not_change_the_exit_code():
    program = (
        "from dlcli.training.progress import ProgressDisplay\n"
        "with ProgressDisplay() as display:\n"
        "    display.start(10)\n"
        "    for _ in range(3): display.say('lost')\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    finished = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_rich_is_not_imported_for_a_file():
    program = (
        "import sys\n"
        "from dlcli.training.progress import ProgressDisplay\n"
        "with ProgressDisplay() as display: display.start(10)\n"
        "assert 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def test_events_are_one_object_a_line_and_lines_for_people_go_elsewhere(capsys):
    events = EventLines()
    events.say("for a person")
    events.event("started", run_dir="a\nb", step=0)
    events.advance(5, float("nan"), 100.0)
    events.evaluated(10, 1.0, {"risk/train/loss": float("inf")})
    captured = capsys.readouterr()
    told = [json.loads(line) for line in captured.out.splitlines()]
    assert all(event.pop("time") > 1e9 for event in told)
    assert told == [
        {"event": "started", "run_dir": "a\nb", "step": 0},
        {"event": "step", "step": 5, "loss": None, "samples_per_second": 100.0},
        {"event": "epoch", "step": 10, "epoch": 1.0, "risk/train/loss": None},
    ]
    assert captured.err == "for a person\n"
