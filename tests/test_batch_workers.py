"""The pool: what is done, by whom, and what happens if a process dies."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

import gdncodec
from gdncodec.batch.workers import Failed, in_parallel


def double(number):
    if number < 0:
        msg = "less than\nnothing"
        raise ValueError(msg)
    return 2 * number, os.getpid()


def die(folder, number):
    """Kill the process on task 3 each time, and on task 5 once."""
    once = Path(folder, "once")
    if number == 3 or (number == 5 and not once.exists()):
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL if number == 5 else signal.SIGSEGV)
    return number


@pytest.mark.parametrize("jobs", [1, 3])
def test_every_task_gets_its_result_or_the_reason_why_there_is_none(jobs):
    outcomes = dict(in_parallel(double, iter([3, -1, 2, 0]), jobs))
    assert outcomes.pop(-1) == Failed("less than nothing")
    assert {task: result for task, (result, _) in outcomes.items()} == {3: 6, 2: 4, 0: 0}
    others = {process for _, process in outcomes.values()}
    assert (os.getpid() in others) == (jobs == 1)


def test_a_process_that_dies_is_replaced_and_its_task_tried_once_more(tmp_path):
    outcomes = dict(in_parallel(partial(die, tmp_path), range(8), 2))
    assert outcomes.pop(3) == Failed("its process died (signal SIGSEGV)")
    assert outcomes == {n: n for n in range(8) if n != 3}


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_task_is_begun_after_the_stop_and_those_that_run_are_ended(jobs):
    seen = []
    for task, _ in in_parallel(double, range(100), jobs, stopped=lambda: len(seen) >= 4):
        seen.append(task)
    assert 4 <= len(seen) <= 4 + jobs - 1
    assert sorted(seen) == list(range(len(seen)))


def test_tasks_are_taken_as_they_are_needed():
    taken = []
    outcomes = in_parallel(double, (taken.append(n) or n for n in range(1000)), 2)
    next(outcomes)
    assert len(taken) <= 3
    outcomes.close()


def report_process(folder, number):
    Path(folder, str(os.getpid())).touch()
    time.sleep(0.05)


def test_workers_end_when_the_process_that_began_them_is_killed(tmp_path):
    here = Path(__file__).parent
    code = (
        "import os, signal\n"
        "from functools import partial\n"
        "from test_batch_workers import report_process\n"
        "from gdncodec.batch.workers import in_parallel\n"
        f"for n, _ in in_parallel(partial(report_process, {str(tmp_path)!r}), range(99), 2):\n"
        "    if n > 6: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    paths = os.pathsep.join([str(here), str(Path(gdncodec.__file__).parents[1])])
    script = tmp_path / "script.py"
    script.write_text("if __name__ == '__main__':\n    " + code.replace("\n", "\n    "))
    ended = subprocess.run(
        [sys.executable, str(script)], check=False, env={**os.environ, "PYTHONPATH": paths}
    )
    assert ended.returncode == -signal.SIGKILL
    workers = [int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()]
    assert len(workers) == 2
    for _ in range(200):
        if not any(Path(f"/proc/{worker}").exists() for worker in workers):
            return
        time.sleep(0.05)
    pytest.fail("a worker outlived the process that began it")
