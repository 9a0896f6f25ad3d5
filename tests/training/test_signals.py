import os
import signal
import threading
from contextlib import suppress

import pytest

from dlcli.training.signals import PRESSED, Stop

EVERY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_to_stop(number):
    with Stop() as stop:
        assert stop.requested is None
        os.kill(os.getpid(), number)
        assert stop.requested == number


def test_the_first_signal_is_the_one_told():
    with Stop() as stop:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop.requested == signal.SIGTERM


def test_a_second_interrupt_stops_at_once():
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt), Stop():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # the rest of the burst is ignored
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("terminal", "answers"), [(True, True), (True, False), (False, True)])
def test_who_presses_ctrl_c_at_a_terminal_is_answered_once(monkeypatch, capfd, terminal, answers):
    monkeypatch.setattr(os, "isatty", lambda descriptor: terminal)
    with Stop(answers=answers) as stop, suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested == signal.SIGINT and capfd.readouterr().err == PRESSED * (terminal and answers)
        os.kill(os.getpid(), signal.SIGINT)
    with Stop(answers=answers):
        os.kill(os.getpid(), signal.SIGTERM)
    assert capfd.readouterr().err == ""


def test_a_user_signal_asks_for_a_checkpoint_only():
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.save_now and stop.requested is None


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in EVERY]
    with Stop():
        pass
    assert [signal.getsignal(number) for number in EVERY] == before


def test_an_ignored_hangup_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.requested is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_installs_nothing():
    before = [signal.getsignal(number) for number in EVERY]
    inside = []

    def work():
        with Stop() as stop:
            inside.extend([stop.requested, [signal.getsignal(number) for number in EVERY]])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [None, before]
