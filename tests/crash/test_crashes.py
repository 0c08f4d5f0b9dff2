"""Crashes at every step, and whether these tests would notice a store that does it wrong."""

# ruff: noqa: PT012 (a transaction is a block, and all of it is what must raise)

import pytest

from h5scene.errors import StorageError
from h5scene.store import pager, recovery, userblock
from tests.crash.simulation import Findings, Stop, record, sweep_power_loss, sweep_process_death


def test_process_death_at_every_operation(scratch):
    recording = record(scratch, 5, durability="process", seed=1)
    findings = Findings()
    sweep_process_death(recording, scratch, findings, seed=2, torn=1, nested_every=9)
    assert not findings.wrong
    assert findings.tried["prefix"] > 100
    assert findings.tried["nested"] > 20


def test_power_loss_between_syncs(scratch):
    recording = record(scratch, 4, durability="power", seed=3)
    findings = Findings()
    sweep_power_loss(recording, scratch, findings, seed=4, samples=1)
    assert not findings.wrong
    assert findings.tried["power"] > 80


# Ways to get it wrong. Each must show in a small sweep.


def no_journal(monkeypatch):
    monkeypatch.setattr(pager, "write_journal", lambda disk, runs, offset: (0, 0))


def journal_after_the_header(monkeypatch):
    late = {}
    write_journal, write_header = pager.write_journal, pager.write_header

    class Nowhere:
        def write(self, data, offset):
            pass

    def put_off(disk, runs, offset):
        late["journal"] = (disk, runs, offset)
        return write_journal(Nowhere(), runs, offset)

    def header_first(disk, header):
        write_header(disk, header)
        if "journal" in late:
            write_journal(*late.pop("journal"))

    monkeypatch.setattr(pager, "write_journal", put_off)
    monkeypatch.setattr(pager, "write_header", header_first)


def clean_header_before_the_pages(monkeypatch):
    def apply(disk, redo, runs, *, sync):
        clean = redo.clean(end=redo.end)
        pager.write_header(disk, clean)
        for offset, data in runs:
            disk.write(data, offset)
        pager.cut(disk, redo.end)
        return clean

    monkeypatch.setattr(pager, "apply", apply)


def pages_written_at_once(monkeypatch):
    def write_at(self, data, offset, count):
        self.disk.write(data, offset)
        self._size = max(self._size, offset + count)

    monkeypatch.setattr(pager.Pager, "_write_at", write_at)


def one_header_slot(monkeypatch):
    monkeypatch.setattr(userblock, "SLOT_OFFSETS", (1024, 1024))


def recovery_forgets_the_last_page(monkeypatch):
    read_journal = recovery.read_journal
    monkeypatch.setattr(
        recovery, "read_journal", lambda disk, header: (read_journal(disk, header) or [None])[:-1]
    )


@pytest.mark.parametrize(
    "mistake",
    [
        no_journal,
        journal_after_the_header,
        clean_header_before_the_pages,
        pages_written_at_once,
        one_header_slot,
        recovery_forgets_the_last_page,
    ],
    ids=lambda mistake: mistake.__name__,
)
def test_the_sweep_notices(scratch, monkeypatch, mistake):
    mistake(monkeypatch)
    # Some show even without a crash: the store finds the file changed by somebody else.
    with pytest.raises((Stop, StorageError)):
        recording = record(scratch, 3, durability="process", seed=1)
        sweep_process_death(
            recording, scratch, Findings(stops_at_first=True), seed=2, torn=1, nested_every=1000
        )


def no_sync_of_the_journal(syncs):
    return syncs % 3 == 1


def no_sync_of_the_header(syncs):
    return syncs % 3 == 2


def no_sync_of_the_pages(syncs):
    return syncs % 3 == 0


@pytest.mark.parametrize(
    "skipped",
    [no_sync_of_the_journal, no_sync_of_the_header, no_sync_of_the_pages],
    ids=lambda skipped: skipped.__name__,
)
def test_the_power_sweep_notices(scratch, skipped):
    recording = record(scratch, 4, durability="power", seed=1)
    kept, marks, syncs = [], [0], 0
    for number, operation in enumerate(recording.operations, 1):
        syncs += operation.kind == "sync"
        if operation.kind != "sync" or not skipped(syncs):
            kept.append(operation)
        if number in recording.marks:
            marks.append(len(kept))
    recording.operations[:] = kept
    recording.marks[:] = marks
    with pytest.raises(Stop):
        sweep_power_loss(recording, scratch, Findings(stops_at_first=True), seed=2, samples=4)
