"""Which files this process has open: one `Store` for each, some of them with open handles."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING

from h5scene.store.view import close_graveyard

if TYPE_CHECKING:
    from h5scene.store.handles import Store

# Each takes two or three descriptors, and some systems allow a process no more than 256.
MAX_OPEN_FILES = 48


class Registry:
    """The stores of this process, and which of them was used last."""

    def __init__(self) -> None:
        # Re-entrant: a signal handler or a finalizer may open a store while this thread is in here.
        self.lock = threading.RLock()
        self._stores: weakref.WeakValueDictionary[str, Store] = weakref.WeakValueDictionary()
        self._open: OrderedDict[str, Store] = OrderedDict()

    def get(self, path: str) -> Store | None:
        """Returns the store of a real path, if there is one."""
        with self.lock:
            return self._stores.get(path)

    def add(self, store: Store) -> Store:
        """Returns the store of this path: the one given, unless another thread was faster."""
        with self.lock:
            return self._stores.setdefault(store.path, store)

    def used(self, store: Store) -> None:
        """Notes that the store is used now, which keeps it open longest."""
        with self.lock:
            self._open[store.path] = store
            self._open.move_to_end(store.path)

    def closed(self, store: Store) -> None:
        """Notes that the store has no open handle."""
        with self.lock:
            self._open.pop(store.path, None)

    def make_room(self, newcomer: Store) -> None:
        """Closes the stores that were not used for longest, if too many are open and idle."""
        with self.lock:
            excess = len(self._open) + 1 - MAX_OPEN_FILES
            candidates = (
                [store for store in self._open.values() if store is not newcomer]
                if excess > 0
                else []
            )
        for store in candidates:
            if excess <= 0:
                return
            excess -= store.close_if_idle()

    def close_all(self) -> None:
        """Closes every store."""
        with self.lock:
            stores = list(self._stores.values())
        for store in stores:
            store.close()

    def at_exit(self) -> None:
        """Closes what is not at work in some other thread."""
        with self.lock:
            stores = list(self._stores.values())
        for store in stores:
            store.close_at_exit()
        close_graveyard()

    def after_fork(self) -> None:
        """Lets go, in a forked child, of everything that belongs to the parent."""
        self.lock = threading.RLock()
        self._open.clear()
        for store in list(self._stores.values()):
            store.abandon_to_parent()


registry = Registry()
# h5py was imported before, so its own clean-up runs after this one.
atexit.register(registry.at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=registry.after_fork)
