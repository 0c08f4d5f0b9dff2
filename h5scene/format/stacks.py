"""Many frames of a field as one: read into one array, whatever the number of scenes and frames."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from h5scene.format.readings import Reading, new_array, read_into
from h5scene.record import Array, DimSpec, FieldRecord, stack_records
from h5scene.tensors import outlined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from h5scene.format.codec import StoredFrame
    from h5scene.format.tree import SceneTree
    from h5scene.regions import Part, Region


def read_stacks(
    file: SceneTree,
    scenes: Sequence[str],
    name: str,
    frames: Sequence[int],
    dim: DimSpec,
    region: Region | Sequence[Region],
    *,
    workers: int,
) -> list[FieldRecord]:
    """Returns, for each scene, these frames of a field along `dim`, labelled with their numbers.

    Frames of the same dims, sizes and dtype are read straight into one array, those of all scenes.

    Raises:
        FieldNotFoundError: A scene has no field of this name.
        FrameNotFoundError: A frame is not stored.
        BatchMismatchError: The frames differ in a way that cannot be stacked.
        InvalidInputError: There is no such region, or no memory for all of it.
        UnsupportedFieldError: The region is no field that could be described.
        CorruptDataError: What is stored is not what FORMAT.md says.
    """
    numbered = replace(dim, labels=tuple(map(str, frames)))
    for scene in scenes:
        file.check_frames(scene, name, frames)
    stack = _Stack(len(scenes) * len(frames), region, dim)
    opened = (
        file.open_frame(scene, name, frame, workers=workers) for scene in scenes for frame in frames
    )
    read_into(stack.readings(opened), workers=workers)
    count = len(frames)
    return [
        stack_records(stack.records[i : i + count], numbered)
        for i in range(0, len(stack.records), count)
    ]


class _Stack:
    """Frames on their way into one array.

    Args:
        count: Number of frames.
        region: What to read of them.
        dim: Along what they are to be stacked.

    Attributes:
        records: The frames so far. Their values are views of the array, where they fit into it.
    """

    def __init__(self, count: int, region: Region | Sequence[Region], dim: DimSpec):
        self.records: list[FieldRecord] = []
        self._count = count
        self._region = region
        self._dim = dim
        self._values: Array | None = None
        self._last: tuple[StoredFrame, Part] | None = None

    def readings(self, frames: Iterable[StoredFrame]) -> Iterator[Reading]:
        """Yields what is to be read, frame by frame."""
        for frame in frames:
            part = self._part(frame)
            values = self._place(frame, part)
            self.records.append(part.record(values))
            yield from frame.readings(part, values)

    def _part(self, frame: StoredFrame) -> Part:
        """Returns what the region is of a frame; neighbours are alike, and not asked twice."""
        if self._last is None or not _are_alike(self._last[0].record, frame.record):
            self._last = frame, frame.part(self._region)
        return self._last[1]

    def _place(self, frame: StoredFrame, part: Part) -> Array:
        """Returns where the values of a frame go."""
        if self._values is None:
            self._values = new_array(frame.dataset, part.shape, (self._count,))
        elif (
            part.shape != self._values.shape[1:]
            or frame.dtype.newbyteorder("=") != self._values.dtype
        ):
            if part.description.bounds is not None:  # others may have any sizes
                self._check_alike(part)
            return new_array(frame.dataset, part.shape)
        return self._values[len(self.records), ...]

    def _check_alike(self, part: Part) -> None:
        """Raises BatchMismatchError when a part does not stack with those before it.

        All would be read in vain otherwise.
        """
        first = self.records[0]
        nothing = np.dtype(bool)
        templates = [
            replace(first, values=outlined(first.values.shape, nothing)),
            part.record(outlined(part.shape, nothing)),
        ]
        stack_records(templates, self._dim)


def _are_alike(a: FieldRecord, b: FieldRecord) -> bool:
    """Whether two frames have the same description, geometry and sizes, as neighbours do."""
    return (
        a.description is b.description
        and a.values.shape == b.values.shape
        and a.geometry is b.geometry
        and a.structure is b.structure
    )
