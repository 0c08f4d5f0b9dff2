"""Threads for compression: order, errors, bounds, forks and the end of Python."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from h5scene.errors import InvalidInputError
from h5scene.format import workers
from h5scene.format.workers import check_workers, default_workers, in_order


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_order(count: int) -> None:
    def slow(item: int) -> int:
        time.sleep(0.001 * (7 - item % 7))
        return 2 * item

    assert list(in_order(slow, range(30), count)) == [2 * item for item in range(30)]
    assert list(in_order(slow, [], count)) == []


@pytest.mark.parametrize("count", [1, 2, 5])
def test_items_are_taken_when_they_are_needed(count: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    for done, _ in enumerate(in_order(lambda item: item, items(), count)):
        assert taken <= done + 2 + count


def test_one_worker_is_the_calling_thread() -> None:
    assert set(in_order(lambda _: threading.get_ident(), range(5), 1)) == {threading.get_ident()}


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_ends_it(count: int) -> None:
    def fail(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    results = in_order(fail, range(100), count)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_who_leaves_early_is_not_waited_for() -> None:
    started = []
    for item in in_order(started.append, range(100), 2):
        assert item is None
        break
    assert len(started) < 100


@pytest.mark.parametrize("count", [0, -1, 65, 1.0, True, "2"])
def test_what_is_no_number_of_threads(count: object) -> None:
    with pytest.raises(InvalidInputError, match="workers must be a number of threads"):
        check_workers(count)


def test_default() -> None:
    check_workers(None)
    check_workers(default_workers())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_no_thread_runs_when_python_forks_and_all_work_goes_on() -> None:
    program = """
import os, threading
from h5scene.format.workers import in_order
before = threading.active_count()
assert list(in_order(abs, range(-9, 0), 2)) == list(range(9, 0, -1))
assert threading.active_count() > before
child = os.fork()
assert list(in_order(abs, range(-9, 0), 2)) == list(range(9, 0, -1))
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print("done")
"""
    command = [sys.executable, "-W", "error", "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.stdout, run.stderr) == ("done\n", "")


def test_work_is_done_after_python_has_ended_its_threads(tmp_path: Path) -> None:
    program = """
import atexit
from h5scene.format.workers import in_order
atexit.register(lambda: print(list(in_order(abs, [-1, -2, -3], 2))))
list(in_order(abs, [-1, -2], 2))
"""
    command = [sys.executable, "-W", "error", "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.stdout, run.stderr) == ("[1, 2, 3]\n", "")


def test_pools_are_kept() -> None:
    list(in_order(abs, range(5), 3))
    pool = workers._pools[3]
    list(in_order(abs, range(5), 3))
    assert workers._pools[3] is pool
