"""Work that is done while other work is."""

import os
import subprocess
import sys
import threading

import pytest

from gdncodec import __main__
from gdncodec.threads import ahead, beside


def failing():
    yield 1
    msg = "no more"
    raise ValueError(msg)


def test_ahead_yields_everything_in_order():
    assert list(ahead(iter(range(20)))) == list(range(20))
    assert list(ahead(iter(()))) == []


def test_ahead_makes_the_next_item_in_another_thread_meanwhile():
    made = [threading.Event() for _ in range(3)]

    def items():
        for number, event in enumerate(made):
            event.set()
            yield number, threading.current_thread()

    for number, thread in ahead(items()):
        assert thread is not threading.current_thread()
        assert all(event.wait(10) for event in made[: number + 2])


def test_ahead_passes_failures_on_and_leaves_no_thread():
    before = threading.active_count()
    found = ahead(failing())
    assert next(found) == 1
    with pytest.raises(ValueError, match="no more"):
        next(found)
    stopped = ahead(iter(range(5)))
    next(stopped)
    stopped.close()
    assert threading.active_count() == before


def test_beside_yields_every_result_in_order():
    assert list(beside(str, range(20))) == [str(n) for n in range(20)]
    assert list(beside(str, ())) == []


def test_beside_works_in_another_thread_while_items_are_made_in_this_one():
    here, worked = threading.current_thread(), threading.Event()

    def items():
        yield 0
        assert worked.wait(10)  # on the first item, before there is a second one
        assert threading.current_thread() is here
        yield 1

    def work(number):
        assert threading.current_thread() is not here
        worked.set()
        return number

    assert list(beside(work, items())) == [0, 1]


def test_few_items_wait_beside():
    taken, go = [], threading.Event()

    def items():
        for number in range(9):
            taken.append(number)
            yield number
            if number == 3:
                go.set()

    for result in beside(lambda n: (go.wait(10), n)[1], items()):
        assert len(taken) <= result + 4


def test_beside_passes_failures_on():
    with pytest.raises(ValueError, match="no more"):
        list(beside(str, failing()))
    with pytest.raises(ValueError, match="invalid literal"):
        list(beside(int, ["1", "x", "2", "3", "4"]))


@pytest.mark.parametrize(("set_before", "expected"), [(None, "passive"), ("active", "active")])
def test_the_program_lets_threads_sleep_unless_told_otherwise(set_before, expected, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)  # and restore it afterwards
    if set_before:
        monkeypatch.setenv("OMP_WAIT_POLICY", set_before)
    seen = []
    monkeypatch.setattr("gdncodec.cli.main", lambda _: seen.append(os.environ["OMP_WAIT_POLICY"]))
    __main__.program()
    assert seen == [expected]


def test_the_library_leaves_the_environment_alone():
    code = "import os; a = dict(os.environ); import gdncodec, gdncodec.__main__, gdncodec.codec; "
    run = subprocess.run([sys.executable, "-c", f"{code}assert a == dict(os.environ)"], check=False)
    assert run.returncode == 0
