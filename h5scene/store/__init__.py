"""The store: one HDF5 file that changes by whole transactions. The only room that opens HDF5 files.

Above it nobody opens, locks, flushes or closes anything. Its levels, each using those below:

    handles, transactions, registry   `Store`: threads, nesting, one store for each file and process
    channel                           one handle: begin, commit, roll back, read a snapshot
    view, creation, copying           one open file: disk, pager, `h5py.File`, stamp
    gate; datasets, links; access     what a file may ask for, whoever made it
    recovery                          finishing or dropping an interrupted commit
    pager, heap, journal, userblock   the bytes: what is written where, and in which order
    locks, safety, failures           other processes; signals and the collector; errors
    system                            what differs between operating systems

What it promises, why that holds and what can still go wrong: `h5scene/docs/DURABILITY.md`.
"""

from h5scene.store.handles import (
    Store,
    close_all,
    create_store,
    is_being_written,
    only_merger,
    open_store,
)
from h5scene.store.safety import interruption_point
from h5scene.store.transactions import Durability

__all__ = [
    "Durability",
    "Store",
    "close_all",
    "create_store",
    "interruption_point",
    "is_being_written",
    "only_merger",
    "open_store",
]
