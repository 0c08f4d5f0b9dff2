"""Copies of scenes compared with what they were made from, by the bytes that stand in the files."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.errors import CorruptDataError, H5SceneError
from h5scene.format import checksums, layout
from h5scene.handling.hdf5_trees import check_form, check_same, check_values, links_of
from h5scene.scene_file import SceneFile
from h5scene.store import interruption_point
from h5scene.store.datasets import check_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from h5scene.format.tree import SceneTree
    from h5scene.store.datasets import CheckedDataset

_OTHER_ATTRIBUTES = (layout.MERGED_FROM_PROPERTY.encode(),)
# What follows from the rest, and is noted in either file by whoever asks for it.
_OTHER_MEMBERS = (layout.STATISTICS_GROUP.encode(),)


@dataclass(frozen=True)
class CopiedScene:
    """A scene, and its copy in another file.

    Attributes:
        source: Path of the file that it was copied from.
        scene: Its name there.
        target: Path of the file that it was copied to.
        new_name: Its name there.
    """

    source: str
    scene: str
    target: str
    new_name: str


def verify_scene(copied: CopiedScene) -> str | None:
    """Reads a scene and its copy; returns what is wrong with them, or `None`.

    The bytes of both have to be the same, and to have the checksums that were noted when they were
    written. Takes the memory of one chunk of each, or of one frame where frames are not chunked.

    Others may call it in other processes: what it takes and returns can be pickled.
    """
    try:
        with SceneFile(copied.source, "r") as old, SceneFile(copied.target, "r") as new:
            _compare(old, new, copied, check_stored)
    except H5SceneError as error:
        return str(error)
    return None


def is_same_scene(old: SceneFile, new: SceneFile, copied: CopiedScene) -> bool:
    """Whether one scene is a copy of another one, as far as that can be seen quickly.

    Numbers are the same where their checksums are; those that have none are read.

    Raises:
        H5SceneError: They cannot be compared. CorruptDataError counts as a difference.
    """
    try:
        _compare(old, new, copied, _check_sums)
    except CorruptDataError:
        return False
    return True


def _compare(
    old: SceneFile,
    new: SceneFile,
    copied: CopiedScene,
    check_data: Callable[[Any, Any, str], object],
) -> None:
    """Raises H5SceneError when a copy is not the same as the scene.

    Each member is compared in a read of its own: who writes to the target does not wait for more.
    """

    def links(tree: SceneTree) -> list[bytes]:
        return links_of(tree.scene(copied.scene).id)

    members: list[bytes | None] = [
        link for link in old._read(links) if link not in _OTHER_MEMBERS
    ]
    for link in members or [None]:

        def compare(theirs: SceneTree, link: bytes | None = link) -> None:
            def with_ours(ours: SceneTree) -> None:
                check_same(
                    ours.scene(copied.scene),
                    theirs.scene(copied.new_name),
                    check_data=check_data,
                    other_attributes=_OTHER_ATTRIBUTES,
                    other_members=_OTHER_MEMBERS,
                    only=link,
                )

            old._read(with_ours)

        new._read(compare)


def is_same_object(a: h5py.Group, b: h5py.Group) -> bool:
    """Whether two objects, such as geometries, are the same to the last bit."""
    try:
        check_same(a, b, check_data=check_stored)
    except CorruptDataError:
        return False
    return True


def check_stored(a: Any, b: Any, where: str) -> None:
    """Raises when the bytes of two datasets are not the same, or not those that were written.

    Args:
        a: HDF5 identifier.
        b: Another one.
        where: How messages name them.

    Raises:
        CorruptDataError: They are not.
        UnsafeFileError: One asks for something that a shared file must not ask for.
    """
    check_form(a, b, where)
    if a.get_type().detect_class(h5py.h5t.VLEN):
        raise CorruptDataError(f"{where} holds lists of any length, which cannot be compared")
    if a.dtype.kind not in "biufc":
        check_values(a, b, where)
        return
    ours, theirs = check_dataset(a), check_dataset(b)
    if _packing(ours) != _packing(theirs) or not (ours.chunk or ours.is_contiguous):
        check_values(a, b, where)
        return
    expected = checksums.read_checksum(a)
    if expected != checksums.read_checksum(b):
        raise CorruptDataError(f"the copy of {where} has another checksum")
    pieces = []
    for (mask, data), (other_mask, other) in zip(_pieces(ours), _pieces(theirs), strict=True):
        interruption_point()
        if mask != other_mask or data != other:
            raise CorruptDataError(f"the copy of {where} has other values")
        if expected is not None and data is not None:
            pieces.append(checksums.summed(mask, data))
    if expected is not None:
        checksums.check(ours, expected, b"".join(pieces))


def _check_sums(a: Any, b: Any, where: str) -> None:
    """Raises where datasets differ, as far as their checksums tell, or are not to be read.

    Raises:
        CorruptDataError: They differ.
        UnsafeFileError: One asks for something that a shared file must not ask for.
    """
    ours, theirs = checksums.read_checksum(a), checksums.read_checksum(b)
    if ours is not None and ours == theirs and a.get_storage_size() == b.get_storage_size():
        check_form(a, b, where)
    else:
        check_values(a, b, where)


def _packing(dataset: CheckedDataset) -> tuple[Any, ...]:
    """Returns how the values of a dataset stand in its file."""
    return dataset.chunk, dataset.filters, dataset.is_contiguous


def _pieces(dataset: CheckedDataset) -> Iterator[tuple[int, Any]]:
    """Yields the bytes that are stored of a dataset, each with its filter mask.

    Chunks in the order of their places, `None` for one that is missing; or all at once.
    """
    identifier, shape = dataset.identifier, dataset.shape or ()
    if dataset.chunk is not None:
        for corner in itertools.product(*map(range, [0] * len(shape), shape, dataset.chunk)):
            info = identifier.get_chunk_info_by_coord(corner)
            if info.byte_offset is None:
                yield 0, None
            else:
                yield identifier.read_direct_chunk(corner)
    elif identifier.get_storage_size():
        kind = identifier.get_type()
        values = np.empty(shape, f"V{kind.get_size()}")
        identifier.read(h5py.h5s.ALL, h5py.h5s.ALL, values, kind)
        yield 0, values.tobytes()
