"""The first signal asks for a clean stop, the second ends at once; nothing hangs in between."""

import os
import signal
import threading
import time

import pytest

from agent.cli.console import standard
from agent.cli.errors import run_command
from agent.cli.stopping import AtOnce, Stop, signals

CODES = [
    pytest.param(signal.SIGINT, 130, id="SIGINT"),
    pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
]


@pytest.fixture(autouse=True)
def heeded():
    """Whatever this process was started with, it starts from what a shell would give it."""
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_signal_ends_the_waiting_and_names_the_exit_code(number, code):
    with signals(Stop()) as stop:
        killer = threading.Timer(0.05, os.kill, (os.getpid(), number))
        killer.start()
        begun = time.monotonic()
        assert stop.wait(30)
        assert time.monotonic() - begun < 5
        killer.join()
        assert stop.is_set()
        assert stop.exit_code == code
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(("number", "code"), CODES)
def test_the_second_signal_ends_at_once_whatever_is_under_way(number, code):
    def command():
        with signals(Stop()):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), number)
            time.sleep(30)

    assert run_command(command, standard()) == code


def test_another_end_may_be_chosen_for_the_second_signal():
    chosen = []

    def leave(code):
        chosen.append(code)
        raise AtOnce(code)

    def command():
        with signals(Stop(at_once=leave)):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)

    assert run_command(command, standard()) == 143
    assert chosen == [143]


def test_waiting_ends_by_itself_and_is_idle_meanwhile():
    idle = []
    with signals(Stop(idle=lambda: idle.append(1), every=0.01)) as stop:
        assert not stop.wait(0.1)
        assert not stop.is_set()
        assert stop.exit_code is None
    assert 2 <= len(idle) <= 10


def test_what_was_set_without_a_signal_has_no_exit_code_and_is_not_noticed():
    noticed = []
    with signals(Stop(noticed=lambda: noticed.append(1))) as stop:
        stop.set()
        stop.set()
        assert stop.wait()
        assert (stop.exit_code, noticed) == (None, [])


def test_a_signal_is_noticed_once():
    noticed = []
    with signals(Stop(noticed=lambda: noticed.append(1))) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(5)
        assert stop.is_set()
        assert noticed == [1]


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with signals(Stop()) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert not stop.wait(0.05)


def test_a_signal_just_before_the_waiting_is_not_lost():
    """Where it falls differs from turn to turn; an event whose wake-up it misses waits 30 s."""
    before = signal.getsignal(signal.SIGALRM)
    try:
        for turn in range(100):
            with signals(Stop()) as stop:
                signal.signal(signal.SIGALRM, stop.handle)
                signal.setitimer(signal.ITIMER_REAL, 0.00001 * (turn + 1))
                begun = time.monotonic()
                assert stop.wait(30)
                assert time.monotonic() - begun < 5
    finally:
        signal.signal(signal.SIGALRM, before)
