"""Datasets of a file from anybody: which of them are read.

A dataset can have its data in any file of the machine, ask for a plugin to be loaded, hand pointers
from the file to NumPy, and say that it is larger than any memory. What `check_dataset` returns does
none of this.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import h5py

from h5scene.errors import CorruptDataError, H5SceneError, UnsafeFileError
from h5scene.store.access import UNTRUSTED
from h5scene.store.links import HDF5_ERRORS, open_link, path_of

if TYPE_CHECKING:
    import numpy as np

    from h5scene.store.access import Access

MAX_DEFLATE_RATIO = 1032
"""A deflate stream cannot inflate to more than this many times its length (258 bytes in 2 bits)."""
# Below this the size of an array needs no reason.
_ALWAYS_ALLOWED_BYTES = 1 << 20
# Chunks may reach beyond the array, but nobody shall take memory for chunks of nearly nothing.
_MAX_CHUNK_RATIO = 4
_NUMBER_KINDS = "biufc"
_SHUFFLE, _DEFLATE = (h5py.h5z.FILTER_SHUFFLE,), (h5py.h5z.FILTER_DEFLATE,)
_UNSUMMED_PIPELINES = ((), _SHUFFLE, _DEFLATE, _SHUFFLE + _DEFLATE)
_KNOWN_PIPELINES = frozenset(
    (*_UNSUMMED_PIPELINES, *((*one, h5py.h5z.FILTER_FLETCHER32) for one in _UNSUMMED_PIPELINES))
)
# Types by their encoding: h5py takes five times as long to make a dtype as HDF5 to encode a type.
_types: dict[bytes, tuple[np.dtype[Any], bool]] = {}
_MAX_TYPES = 64


class CheckedDataset:
    """A dataset that has passed the gate, and what was learnt of it there.

    Attributes:
        identifier: HDF5 identifier (`h5py.h5d.DatasetID`).
        access: What it knows of its file.
        dtype: As stored, in the byte order of the file.
        is_plain: Whether HDF5 has no other type that is this dtype, so that bytes mean the same.
        shape: `None` where it holds nothing at all.
        is_contiguous: Whether its values follow one another in the file.
        chunk: Shape of the chunks; `None` where there are none.
        filters: HDF5's numbers of the filters of the chunks.
    """

    __slots__ = (
        "_name",
        "access",
        "chunk",
        "dtype",
        "filters",
        "identifier",
        "is_contiguous",
        "is_plain",
        "shape",
    )

    def __init__(self, identifier: Any, access: Access, name: str | None):
        self.identifier = identifier
        self.access = access
        self._name = name
        self.dtype, self.is_plain = _type_of(identifier)
        self.shape: tuple[int, ...] | None = identifier.shape
        self.chunk: tuple[int, ...] | None = None
        self.filters: tuple[int, ...] = ()
        properties = identifier.get_create_plist()
        layout = properties.get_layout()
        self.is_contiguous = layout == h5py.h5d.CONTIGUOUS
        if layout == h5py.h5d.CHUNKED:
            self.chunk = properties.get_chunk()
            count = properties.get_nfilters()
            self.filters = tuple(properties.get_filter(i)[0] for i in range(count))
        if not access.policy.is_trusted:
            self._check(properties, layout)

    @property
    def name(self) -> str:
        """HDF5 path."""
        if self._name is None:
            self._name = path_of(self.identifier)
        return self._name

    @property
    def size_bytes(self) -> int:
        """How large the values are in memory."""
        return math.prod(map(int, self.shape or ())) * self.dtype.itemsize

    def _check(self, properties: Any, layout: int) -> None:
        """Raises UnsafeFileError or CorruptDataError when this is not to be read."""
        if properties.get_external_count():  # which HDF5 obeys whatever the layout is
            raise self._unsafe("has its data in another file")
        if self.dtype.kind not in _NUMBER_KINDS:
            raise self._unsafe(f"holds no numbers but {self.dtype}")
        size_bytes = self.size_bytes
        if layout == h5py.h5d.VIRTUAL:
            shown_bytes = self._check_sources(properties)
            if size_bytes > _ALWAYS_ALLOWED_BYTES:
                self._check_size(size_bytes, shown_bytes)
            return
        if self.filters and self.filters not in _KNOWN_PIPELINES:
            raise self._unsafe(f"has the filters {self.filters}, which scene files do not have")
        if self.chunk is not None:
            chunk_bytes = math.prod(self.chunk) * self.dtype.itemsize
            if chunk_bytes > _MAX_CHUNK_RATIO * max(size_bytes, _ALWAYS_ALLOWED_BYTES):
                raise self._unsafe(f"has {size_bytes} bytes in chunks of {chunk_bytes} bytes")
        if size_bytes > _ALWAYS_ALLOWED_BYTES:
            stored_bytes = self.identifier.get_storage_size()
            self._check_size(size_bytes, stored_bytes, is_packed=self.chunk is not None)

    def _check_size(self, size_bytes: int, stored_bytes: int, *, is_packed: bool = False) -> None:
        """Raises when the values cannot stand in what the file holds of them, or are too large.

        Raises:
            CorruptDataError: They cannot.
            UnsafeFileError: They are larger than allowed.
        """
        if size_bytes > stored_bytes * (MAX_DEFLATE_RATIO if is_packed else 1):
            raise CorruptDataError(
                f"{self.name} says that it has {size_bytes} bytes; the file holds {stored_bytes} "
                "bytes of it",
                location=self.name,
            )
        limit_bytes = self.access.policy.array_limit_bytes
        if size_bytes > limit_bytes:
            raise self._unsafe(
                f"has {size_bytes} bytes once it is unpacked, and at most {limit_bytes} are "
                "allowed; allow more with max_array_bytes"
            )

    def _check_sources(self, properties: Any) -> int:
        """Returns the size of what a virtual dataset shows.

        Raises:
            UnsafeFileError: This is anything but datasets of the same file.
        """
        root = h5py.h5g.open(h5py.h5i.get_file_id(self.identifier), b"/")
        sizes: dict[str, int] = {}
        for i in range(properties.get_virtual_count()):
            if properties.get_virtual_filename(i) != ".":
                raise self._unsafe(
                    f"shows data of another file, {properties.get_virtual_filename(i)!r}"
                )
            name = properties.get_virtual_dsetname(i)
            if "%" in name:  # HDF5 puts numbers there, which lead to datasets of other names
                raise self._unsafe(f"shows the datasets of a pattern, {name!r}")
            try:
                source = open_link(root, name)
            except KeyError:
                raise self._unsafe(f"shows {name!r}, which is not there") from None
            is_dataset = isinstance(source, h5py.h5d.DatasetID)
            if not is_dataset or source.get_create_plist().get_layout() == h5py.h5d.VIRTUAL:
                raise self._unsafe(f"shows {name!r}, which is no dataset with data of its own")
            sizes[name] = check_dataset(source).size_bytes
        return sum(sizes.values())

    def _unsafe(self, what: str) -> UnsafeFileError:
        return UnsafeFileError(f"{self.name} {what}", location=self.name)


def check_dataset(
    identifier: Any, access: Access = UNTRUSTED, name: str | None = None
) -> CheckedDataset:
    """Returns a dataset that may be read.

    Args:
        identifier: HDF5's, as `links.open_member` returns it.
        access: What is known of its file.
        name: Path of the dataset, where it is known.

    Raises:
        UnsafeFileError: It asks for other files, for filters of others, or for a type or size that
            no scene file has.
        CorruptDataError: It says that it is larger than what the file holds of it.
    """
    try:
        return CheckedDataset(identifier, access, name)
    except H5SceneError:
        raise
    except HDF5_ERRORS as error:
        where = path_of(identifier)
        raise CorruptDataError(f"{where} is damaged: {error}", location=where) from error


def _type_of(identifier: Any) -> tuple[np.dtype[Any], bool]:
    """Returns the dtype of a dataset, and whether its type is the one that HDF5 has for it."""
    kind = identifier.get_type()
    code = kind.encode()
    found = _types.get(code)
    if found is None:
        dtype = identifier.dtype
        is_plain = dtype.kind in _NUMBER_KINDS and h5py.h5t.py_create(dtype, logical=True) == kind
        found = dtype, is_plain
        if is_plain and len(_types) < _MAX_TYPES:
            _types[code] = found
    return found
