"""How much a file is trusted, and how the bytes of its datasets are read beside HDF5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from h5scene.errors import InvalidInputError
from h5scene.store.system import memory_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    import h5py


@dataclass(frozen=True)
class Policy:
    """How much a file is trusted.

    Attributes:
        is_trusted: Whether links of all kinds are followed, into other files too.
        max_array_bytes: How large one array may be; all of the machine's memory by default.
    """

    is_trusted: bool = False
    max_array_bytes: int | None = None

    @property
    def array_limit_bytes(self) -> int:
        """How large one array may be."""
        return memory_bytes() if self.max_array_bytes is None else self.max_array_bytes


class StoredBytes(Protocol):
    """The file below HDF5, as the pager has it.

    Attributes:
        is_writing: Whether HDF5 may hold what it has not yet written.
    """

    is_writing: bool

    def read_stored(self, view: memoryview, offset: int) -> None:
        """Fills a view with committed bytes, in any thread."""


@dataclass(frozen=True)
class Access:
    """What groups and datasets of an open file know of it.

    Attributes:
        policy: How much it is trusted.
        stored: Its bytes, where this package has them under control.
    """

    policy: Policy = Policy()
    stored: StoredBytes | None = None

    @property
    def read_stored(self) -> Callable[[memoryview, int], None] | None:
        """Reads bytes of the file in any thread; `None` while only HDF5 knows what stands there.

        A link of a trusted file may have led to a dataset of another one.
        """
        stored = self.stored
        if stored is None or stored.is_writing or self.policy.is_trusted:
            return None
        return stored.read_stored


UNTRUSTED = Access()
TRUSTED = Access(Policy(is_trusted=True))


def access_of(thing: h5py.Group | h5py.Dataset) -> Access:
    """Returns what a group or dataset knows of its file."""
    access: Any = getattr(thing, "access", UNTRUSTED)
    return access  # type: ignore[no-any-return]


def checked_limit(limit_bytes: int | None) -> int | None:
    """Returns a limit that somebody gave for the size of an array.

    Raises:
        InvalidInputError: It is no positive whole number.
    """
    if limit_bytes is None or (type(limit_bytes) is int and limit_bytes > 0):
        return limit_bytes
    raise InvalidInputError(f"max_array_bytes must be a positive whole number, not {limit_bytes!r}")
