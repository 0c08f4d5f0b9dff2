"""Small bounded caches.

Descriptions repeat from frame to frame and take longer to work out than a frame to store.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from h5scene.record import FieldDescription, TensorRecord, map_boundary

if TYPE_CHECKING:
    from collections.abc import Hashable

T = TypeVar("T")
_BYTES_MAX = 1 << 16


class Cache(Generic[T]):
    """The most recently used values by key. Safe to use from several threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> T | None:
        """Returns the value stored under the key, if it is still there."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Hashable, value: T) -> None:
        """Stores a value; the one that was used least recently may go."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self._capacity:
                self._values.popitem(last=False)


class IdentityCache(Generic[T]):
    """Values that depend on immutable objects, found by which objects they are.

    Comparing the objects would cost too much. They are not kept alive; that one died and another
    took its id is noticed.
    """

    def __init__(self, capacity: int) -> None:
        self._cache: Cache[tuple[tuple[weakref.ref[Any], ...], T]] = Cache(capacity)

    def get(self, objects: tuple[Any, ...], key: Hashable) -> T | None:
        """Returns the value stored for these objects and the key."""
        found = self._cache.get((*map(id, objects), key))
        if found is None or any(
            ref() is not obj for ref, obj in zip(found[0], objects, strict=True)
        ):
            return None
        return found[1]

    def put(self, objects: tuple[Any, ...], key: Hashable, value: T) -> None:
        """Stores a value for these objects and the key."""
        self._cache.put((*map(id, objects), key), (tuple(map(weakref.ref, objects)), value))


class WeakMap(Generic[T]):
    """Values for objects, found by identity. An object takes its value along when it dies."""

    def __init__(self) -> None:
        self._values: dict[int, tuple[weakref.ref[Any], T, tuple[Any, ...]]] = {}

    def get(self, obj: Any) -> T | None:
        """Returns the value for this object."""
        found = self._values.get(id(obj))
        return found[1] if found is not None and found[0]() is obj else None

    def put(self, obj: Any, value: T, keep: tuple[Any, ...] = ()) -> None:
        """Stores a value for an object, and keeps other objects alive with it."""
        key = id(obj)

        def forget(dead: weakref.ref[Any]) -> None:
            found = self._values.get(key)
            if found is not None and found[0] is dead:
                del self._values[key]

        self._values[key] = (weakref.ref(obj, forget), value, keep)


def is_small(described: FieldDescription) -> bool:
    """Whether a cache may keep a description: not if its boundary is as large as a frame."""
    total = 0

    def note(tensor: TensorRecord) -> TensorRecord:
        nonlocal total
        total += tensor.data.nbytes
        return tensor

    map_boundary(described.boundary, note)
    bounds = described.bounds
    if bounds is None:
        return total <= _BYTES_MAX
    for tensor in (bounds.lower, bounds.upper, bounds.center, bounds.size):
        if tensor is not None:
            note(tensor)
    return total <= _BYTES_MAX
