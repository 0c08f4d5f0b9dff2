"""Signals: handlers run soon, but never in the middle of HDF5's work."""

# ruff: noqa: PT012 (a transaction is a block, and all of it is what must raise)

import gc
import os
import random
import signal
import threading
import time
import weakref

import h5py
import numpy as np
import pytest

from h5scene.store import create_store, pager, safety
from tests.crash.children import Child, wait_until


@pytest.fixture
def store(tmp_path):
    return create_store(tmp_path / "runs.h5", lambda file: file.attrs.__setitem__("number", 0))


@pytest.fixture
def handler():
    """Makes SIGUSR1 raise, as Ctrl-C does."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    yield interrupt
    signal.signal(signal.SIGUSR1, before)


def test_handlers_are_put_back(store, handler):
    with store.transaction():
        assert signal.getsignal(signal.SIGUSR1) is not handler
        with store.transaction():
            pass
        assert signal.getsignal(signal.SIGUSR1) is not handler
    assert signal.getsignal(signal.SIGUSR1) is handler
    store.read(len)
    assert signal.getsignal(signal.SIGUSR1) is handler


def test_a_handler_set_inside_a_transaction_stays(store):
    before = signal.getsignal(signal.SIGUSR1)

    def own(number, frame):
        pass

    try:
        signal.signal(signal.SIGUSR1, lambda number, frame: None)
        with store.transaction():
            signal.signal(signal.SIGUSR1, own)
        assert signal.getsignal(signal.SIGUSR1) is own
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_body_is_interrupted_at_once(store, handler):
    with pytest.raises(KeyboardInterrupt), store.transaction() as file:
        file["a"] = 1
        signal.raise_signal(signal.SIGUSR1)
        pytest.fail("should not get here")
    assert store.read(list) == []
    with pytest.raises(KeyboardInterrupt):
        store.read(lambda file: signal.raise_signal(signal.SIGUSR1))


@pytest.mark.parametrize("method", ["seek", "write", "truncate", "tell"])
def test_callbacks_of_hdf5_are_not_interrupted(store, monkeypatch, method):
    original = getattr(pager.Pager, method)
    raised, places = [], []

    def interrupted(self, *arguments):
        if not raised and self.is_writing:
            raised.append(1)
            signal.raise_signal(signal.SIGUSR1)
        return original(self, *arguments)

    def look(number, frame):
        while frame is not None:
            places.append(frame.f_code.co_filename)
            frame = frame.f_back

    # It must look like a function of the store, which is how the store recognises its own.
    interrupted.__code__ = interrupted.__code__.replace(co_filename=pager.__file__)
    monkeypatch.setattr(pager.Pager, method, interrupted)
    before = signal.signal(signal.SIGUSR1, look)
    try:
        with store.transaction() as file:
            file["a"] = np.zeros(1000)
            file.flush()
        wait_until(lambda: bool(places))  # it comes two milliseconds later
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert raised
    assert pager.__file__ not in places
    with h5py.File(store.path) as file:
        assert list(file) == ["a"]


def test_a_handler_may_write(store):
    """What a job does that saves its state on SIGTERM."""

    def save(number, frame):
        with store.transaction() as file:
            file["saved"] = 1

    before = signal.signal(signal.SIGUSR1, save)
    try:
        with store.transaction() as file:
            file["a"] = 1
            signal.raise_signal(signal.SIGUSR1)
        assert store.read(sorted) == ["a", "saved"]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_storm_of_interrupts(store):
    """Every transaction that returned is there, and every state is whole."""

    def run(report):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ends = time.monotonic() + 2.5
        ready = []

        def strike():
            rng = random.Random(1)
            while not ready:
                time.sleep(0.001)
            while time.monotonic() < ends:
                time.sleep(rng.random() * 0.006)
                os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=strike, daemon=True).start()
        counts = {"returned": 0, "interrupted": 0}

        def write():
            while time.monotonic() < ends:
                ready.append(1)
                counts["interrupted"] += 1
                with store.transaction() as file:
                    number = int(file.attrs["number"])
                    file.create_dataset(f"a/{number:06d}", data=np.full((16, 8), number))
                    file.create_dataset(f"b/{number:06d}", data=np.full((16, 8), number))
                    file.attrs["number"] = number + 1
                counts["returned"] = number + 1
                store.read(len)
                counts["interrupted"] -= 1

        def persist():
            while time.monotonic() < ends:
                try:
                    write()
                except KeyboardInterrupt:
                    continue
            signal.signal(signal.SIGINT, signal.SIG_IGN)

        while signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            try:
                persist()  # which is interrupted itself, at times
            except KeyboardInterrupt:
                continue
        return counts["returned"], counts["interrupted"]

    returned, interrupts = Child(run).result()
    with h5py.File(store.path) as file:
        number = int(file.attrs["number"])
        assert number >= returned > 0
        assert len(file["a"]) == len(file["b"]) == number
        for index in range(number):
            assert (file[f"b/{index:06d}"][...] == index).all()
    assert interrupts > 0


def test_the_collector_catches_up_where_threads_overlap():
    inside, leave = threading.Event(), threading.Event()

    def stay():
        with safety.Guard():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=stay)
    thread.start()
    inside.wait(30)
    try:
        assert not gc.isenabled()
        cycle = Cycle()
        gone = weakref.ref(cycle)
        del cycle
        keep = []
        while gc.get_count()[0] <= gc.get_threshold()[0]:
            keep.append([])
        with safety.Guard():
            assert gone() is not None
        assert gone() is None, "collected on leaving, although another thread keeps it paused"
    finally:
        leave.set()
        thread.join()
    assert gc.isenabled()


class Cycle:
    """Only the collector frees it."""

    def __init__(self):
        self.myself = self
