"""What differs between two scene files, scenes, fields or frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.errors import (
    BusyError,
    FieldNotFoundError,
    FrameNotFoundError,
    InvalidInputError,
)
from h5scene.format import codec, names
from h5scene.handling.addresses import Address, find_address, frame_of, scene_of
from h5scene.handling.hdf5_trees import slabs
from h5scene.interop import stored
from h5scene.record import TensorRecord, same_bits
from h5scene.scene_file import SceneFile

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from h5scene.format.tree import SceneTree
    from h5scene.record import Array, FieldRecord

_PART_BYTES = 64 << 20
_BLOCK_VALUES = 1 << 20
_LEVELS = ("file", "scene", "field", "frame")


@dataclass(frozen=True)
class Difference:
    """One thing that differs.

    Attributes:
        path: Where: `sim_000000/smoke/5`, or `sim_000000@dt` for a property. Empty for all of what
            was compared.
        kind: `missing`: only the second has it; `extra`: only the first; `values`: other numbers;
            `description`: other dims, bounds, boundary, dtype; `property`, `time`, `curve`, `file`,
            `array`.
        message: What differs, for people.
        max_absolute: Largest difference of numbers, where these were compared. NaN where one is
            NaN and the other is not.
        max_relative: Largest difference, as a part of the magnitude of the second.
        count: How many numbers differ by more than the tolerances allow.
    """

    path: str
    kind: str
    message: str
    max_absolute: float | None = None
    max_relative: float | None = None
    count: int | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def compare(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    on_progress: Callable[[int, int], object] | None = None,
) -> tuple[Difference, ...]:
    """Returns what differs between two files, scenes, fields or frames; nothing if all is the same.

    Without tolerances every bit counts. With them, numbers of fields and curves are the same where
    `|a - b| <= atol + rtol * |b|`, NaN is the same as NaN, and dtypes may differ. Frames
    are read in parts of at most 64 MiB.

    Args:
        a: A path such as `a.h5`, `a.h5/sim_000000`, `a.h5/sim_000000/smoke` or
            `a.h5/sim_000000/smoke/5`.
        b: Another one, of the same level. Names of what is compared may differ, such as those of
            two scenes; what is in it is compared by name.
        rtol: Tolerance, as a part of the magnitude of `b`.
        atol: Tolerance.
        on_progress: Called with the number of frames that are done, and of all.

    Raises:
        InvalidInputError: The paths are of different levels, or a tolerance is negative.
        NotFoundError: One of them does not exist.
        BusyError: A frame changes while it is compared.
        H5SceneError: As reading raises.

    Example:
        >>> scene = Scene.create("a")
        >>> scene.put_properties(dt=0.1)
        >>> other = Scene.create("b")
        >>> other.put_properties(dt=0.2)
        >>> [str(difference) for difference in compare("a.h5", "b.h5")]
        ['sim_000000@dt: 0.1 and 0.2']
    """
    if not (rtol >= 0 and atol >= 0):
        raise InvalidInputError(f"tolerances must not be negative: rtol={rtol}, atol={atol}")
    one, other = find_address(a), find_address(b)
    if len(one.parts) != len(other.parts):
        levels = [_LEVELS[min(len(x.parts), 3)] for x in (one, other)]
        raise InvalidInputError(
            f"cannot compare a {levels[0]} with a {levels[1]}: {one} and {other}; name two things "
            "of one kind"
        )
    if len(one.parts) > 3:
        raise InvalidInputError(f"{one} names more than a frame")
    with SceneFile(one.file, "r") as ours, SceneFile(other.file, "r") as theirs:
        compared = _Comparison(ours, theirs, rtol, atol, on_progress)
        return tuple(compared.differences(one, other))


@dataclass
class _Comparison:
    ours: SceneFile
    theirs: SceneFile
    rtol: float
    atol: float
    on_progress: Callable[[int, int], object] | None
    done: int = 0
    total: int = 0

    def differences(self, a: Address, b: Address) -> Iterator[Difference]:
        """Yields what differs between two addresses of one level."""
        if not a.parts:
            yield from self._files()
            return
        scenes = scene_of(self.ours, a.parts[0]), scene_of(self.theirs, b.parts[0])
        for file, scene in zip((self.ours, self.theirs), scenes, strict=True):
            file.fieldnames(scene)  # raises where there is none
        frames = self.ours.frames(scenes[0]) if self.on_progress is not None else {}
        if len(a.parts) == 1:
            self.total = sum(map(len, frames.values()))
            yield from self._scenes(*scenes, "")
            return
        fields = tuple(
            names.find_field(file.fieldnames(scene), parts[1], f"{file.path}/{scene}")
            for file, scene, parts in zip(
                (self.ours, self.theirs), scenes, (a.parts, b.parts), strict=True
            )
        )
        if len(a.parts) == 2:
            self.total = len(frames.get(fields[0], ()))
            yield from self._fields(scenes, (fields[0], fields[1]), "")
            return
        yield from self._frames(
            scenes, (fields[0], fields[1]), (frame_of(a.parts[2]), frame_of(b.parts[2])), ""
        )

    def _files(self) -> Iterator[Difference]:
        ours, theirs = self.ours.scenes, self.theirs.scenes
        yield from _only_in_one(ours, theirs, "", "the scene")
        common = [scene for scene in ours if scene in set(theirs)]
        if self.on_progress is not None:
            self.total = sum(
                len(frames) for scene in common for frames in self.ours.frames(scene).values()
            )
        for scene in common:
            yield from self._scenes(scene, scene, scene)

    def _scenes(self, a: str, b: str, where: str) -> Iterator[Difference]:
        prefix = f"{where}/" if where else ""
        yield from self._properties(a, b, where)
        ours, theirs = self.ours.fieldnames(a), self.theirs.fieldnames(b)
        yield from _only_in_one(ours, theirs, prefix, "the field")
        for name in ours:
            if name in theirs:
                yield from self._fields((a, b), (name, name), prefix + name)
        yield from self._times(a, b, where)
        yield from self._curves(a, b, prefix)
        yield from self._files_and_arrays(a, b, prefix)

    def _fields(
        self, scenes: tuple[str, str], fields: tuple[str, str], where: str
    ) -> Iterator[Difference]:
        prefix = f"{where}/" if where else ""
        ours, theirs = (
            file.frames(scene)[name]
            for file, scene, name in zip((self.ours, self.theirs), scenes, fields, strict=True)
        )
        yield from _only_in_one(ours, theirs, prefix, "the frame")
        known = set(theirs)
        common = [frame for frame in ours if frame in known]
        for frame in common:
            yield from self._frames(scenes, fields, (frame, frame), f"{prefix}{frame}")
            self.done += 1
            if self.on_progress is not None:
                self.on_progress(self.done, max(self.total, self.done))

    def _frames(
        self, scenes: tuple[str, str], fields: tuple[str, str], frames: tuple[int, int], where: str
    ) -> Iterator[Difference]:
        sides = tuple(zip((self.ours, self.theirs), scenes, fields, frames, strict=True))
        try:
            a, b = (_frame_or_outline(*side) for side in sides)
            values = self._values(a, b, sides, where)
        except (FieldNotFoundError, FrameNotFoundError):
            if where:
                return  # somebody removed it meanwhile
            raise
        if (a.description, a.geometry, a.structure) != (b.description, b.geometry, b.structure):
            yield Difference(where, "description", _description_difference(a, b))
        if values is not None:
            yield values
        errors = (
            self.ours.max_relative_error(scenes[0], fields[0], frames[0]),
            self.theirs.max_relative_error(scenes[1], fields[1], frames[1]),
        )
        if errors[0] != errors[1] and not self._is_tolerant:
            text = f"values were rounded by at most {errors[0]:g} and {errors[1]:g} of themselves"
            yield Difference(where, "description", text)

    def _values(
        self,
        a: FieldRecord,
        b: FieldRecord,
        sides: tuple[tuple[SceneFile, str, str, int], ...],
        where: str,
    ) -> Difference | None:
        """Returns how the values of two frames differ, which may be outlines."""
        x, y = a.values, b.values
        if max(x.nbytes, y.nbytes) <= _PART_BYTES:
            return self._numbers(x, y, where, "values")
        found = _form_difference(x, y, where, "values", is_tolerant=self._is_tolerant)
        if found is not None:
            return found
        apart = _Apart(self.rtol, self.atol)
        dims = [[dim.name for dim in one.description.dims] for one in (a, b)]
        for slab in slabs(x.shape, max(x.itemsize, y.itemsize), _PART_BYTES):
            ours, theirs = (
                file.read_values(scene, name, frame, dict(zip(known, slab, strict=True)))
                for (file, scene, name, frame), known in zip(sides, dims, strict=True)
            )
            if ours.shape != theirs.shape:
                raise BusyError(f"frames of {sides[0][0].path} change meanwhile; try again")
            apart.add(ours, theirs)
        return apart.difference(where, "values")

    @property
    def _is_tolerant(self) -> bool:
        return self.rtol > 0 or self.atol > 0

    def _numbers(self, a: Array, b: Array, where: str, kind: str) -> Difference | None:
        """Returns how two arrays differ; `None` if they do not."""
        found = _form_difference(a, b, where, kind, is_tolerant=self._is_tolerant)
        if found is not None:
            return found
        apart = _Apart(self.rtol, self.atol)
        apart.add(a, b)
        return apart.difference(where, kind)

    def _properties(self, a: str, b: str, where: str) -> Iterator[Difference]:
        ours, theirs = self.ours.properties(a), self.theirs.properties(b)
        yield from _only_in_one(ours, theirs, f"{where}@", "the property")
        for name, value in ours.items():
            if name in theirs and not _is_same(value, theirs[name]):
                text = f"{_short(value)} and {_short(theirs[name])}"
                yield Difference(f"{where}@{name}", "property", text)

    def _times(self, a: str, b: str, where: str) -> Iterator[Difference]:
        ours, theirs = self.ours.times(a), self.theirs.times(b)
        if ours == theirs:
            return
        frames = sorted(f for f in ours.keys() | theirs.keys() if ours.get(f) != theirs.get(f))
        wrong = [f for f in frames if not self._is_close(ours.get(f), theirs.get(f))]
        if wrong:
            text = f"the times of {names.quoted(wrong, 4)} differ"
            yield Difference(where, "time", text, count=len(wrong))

    def _is_close(self, a: float | None, b: float | None) -> bool:
        if a is None or b is None:
            return False
        return abs(a - b) <= self.atol + self.rtol * abs(b)

    def _curves(self, a: str, b: str, prefix: str) -> Iterator[Difference]:
        ours, theirs = stored.curve_rows(self.ours, a), stored.curve_rows(self.theirs, b)
        yield from _only_in_one(ours, theirs, f"{prefix}curve ", "the curve")
        for name, rows in ours.items():
            if name in theirs:
                found = self._numbers(rows, theirs[name], f"{prefix}curve {name}", "curve")
                if found is not None:
                    yield found

    def _files_and_arrays(self, a: str, b: str, prefix: str) -> Iterator[Difference]:
        ours, theirs = self.ours.files(a), self.theirs.files(b)
        yield from _only_in_one(ours, theirs, prefix, "the file")
        for name in ours:
            if name in theirs:
                x = stored.read_attached(self.ours, a, name)
                y = stored.read_attached(self.theirs, b, name)
                if x != y:
                    text = f"the files differ, of {len(x):,} and {len(y):,} bytes"
                    yield Difference(prefix + name, "file", text)
        mine, others = stored.array_names(self.ours, a), stored.array_names(self.theirs, b)
        yield from _only_in_one(mine, others, prefix, "the array")
        for name in mine:
            if name in others:
                yield from self._arrays(a, b, name, prefix + name)

    def _arrays(self, a: str, b: str, name: str, where: str) -> Iterator[Difference]:
        ours = stored.read_arrays(self.ours, a, name)
        theirs = stored.read_arrays(self.theirs, b, name)
        yield from _only_in_one(ours, theirs, f"{where}/", "the array")
        for key, values in ours.items():
            if key in theirs:
                found = self._numbers(values, theirs[key], f"{where}/{key}", "array")
                if found is not None:
                    yield found


@dataclass
class _Apart:
    """How far the numbers of two arrays are apart, part by part."""

    rtol: float
    atol: float
    size: int = 0
    count: int = 0
    largest: float = 0.0
    part: float = 0.0
    has_other_bits: bool = False

    def add(self, a: Array, b: Array) -> None:
        """Compares two arrays of one shape."""
        self.size += a.size
        if same_bits(a, b):
            return
        self.has_other_bits = True
        x, y = a.reshape(-1), b.reshape(-1)
        for start in range(0, a.size, _BLOCK_VALUES):
            self._add_block(x[start : start + _BLOCK_VALUES], y[start : start + _BLOCK_VALUES])

    def _add_block(self, a: Array, b: Array) -> None:
        """Compares as many numbers as may be held several times, in a wider type."""
        wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
        if {a.dtype.kind, b.dtype.kind} <= set("biu") and max(a.itemsize, b.itemsize) == 8:
            wide = np.longdouble  # float64 does not tell all of them apart
        x, y = np.asarray(a, wide), np.asarray(b, wide)
        with np.errstate(all="ignore"):
            apart = np.abs(x - y)
            is_equal = (x == y) | (np.isnan(x) & np.isnan(y))
            apart[is_equal] = 0
            is_apart = ~is_equal
            if self.rtol > 0 or self.atol > 0:
                is_apart &= ~(apart <= self.atol + self.rtol * np.abs(y))
            relative = np.where(is_equal, 0, apart / np.abs(y))
            # Where one is NaN, so is the largest difference.
            self.largest = float(np.maximum(self.largest, np.max(apart)))
            self.part = float(np.maximum(self.part, np.max(relative)))
        self.count += int(np.count_nonzero(is_apart))

    def difference(self, where: str, kind: str) -> Difference | None:
        """Returns how all of them differ; `None` if they do not."""
        if not self.count:
            if not self.has_other_bits or self.rtol > 0 or self.atol > 0:
                return None
            return Difference(where, kind, "bits of NaNs or signs of zeros differ", 0.0, 0.0, 0)
        message = (
            f"{self.count:,} of {self.size:,} values differ, by up to {self.largest:.6g} "
            f"({self.part:.3g} relative)"
        )
        return Difference(where, kind, message, self.largest, self.part, self.count)


def _frame_or_outline(file: SceneFile, scene: str, name: str, frame: int) -> FieldRecord:
    """Returns one frame; zeros that take no memory as its values where these are many."""

    def read(tree: SceneTree) -> FieldRecord:
        opened = tree.open_frame(scene, name, frame)
        if opened.record.values.nbytes > _PART_BYTES:
            return opened.record
        return replace(opened.record, values=codec.read_region(opened, {}, workers=file._workers))

    return file._read(read, scene)


def _form_difference(
    a: Array, b: Array, where: str, kind: str, *, is_tolerant: bool
) -> Difference | None:
    """Returns how the shapes or dtypes of two arrays differ; `None` if they do not."""
    if a.shape != b.shape:
        return Difference(where, kind, f"shapes {a.shape} and {b.shape}")
    if a.dtype != b.dtype and not is_tolerant:
        return Difference(where, kind, f"dtypes {a.dtype} and {b.dtype}")
    return None


def _only_in_one(ours: Any, theirs: Any, prefix: str, what: str) -> Iterator[Difference]:
    """Yields names that only one side has."""
    mine, others = set(ours), set(theirs)
    for name in ours:
        if name not in others:
            yield Difference(f"{prefix}{name}", "extra", f"{what} is only in the first")
    for name in theirs:
        if name not in mine:
            yield Difference(f"{prefix}{name}", "missing", f"{what} is only in the second")


def _description_difference(a: FieldRecord, b: FieldRecord) -> str:
    """Returns which parts of two descriptions differ."""
    x, y = a.description, b.description
    parts = []
    for name in getattr(type(x), "__slots__", ()):
        if getattr(x, name) != getattr(y, name, None):
            if name == "dims":
                dims = [", ".join(dim.name for dim in one.dims) for one in (x, y)]
                parts.append("dims" if dims[0] == dims[1] else f"dims ({dims[0]}) and ({dims[1]})")
            elif name == "boundary":
                parts.append(f"boundary {_short(x.boundary)} and {_short(y.boundary)}")
            else:
                parts.append(name)
    return f"the descriptions differ: {'; '.join(parts) or 'arrays that belong to them'}"


def _is_same(a: Any, b: Any) -> bool:
    """Whether two JSON values are the same; `1`, `1.0` and `True` are three, NaN is NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_is_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_is_same, a, b))
    if isinstance(a, float):
        return same_bits(np.float64(a).reshape(1), np.float64(b).reshape(1))
    return bool(a == b)


def _short(value: Any) -> str:
    """Returns a value in a few words."""
    if isinstance(value, TensorRecord) and not value.dims:
        return repr(value.data.item())
    if isinstance(value, TensorRecord):
        return f"tensor {value.data.tolist()}" if value.data.size <= 4 else "a tensor"
    if isinstance(value, dict) and "type" in value and isinstance(value["type"], str):
        inner: Mapping[str, Any] = {k: v for k, v in value.items() if k != "type"}
        details = ", ".join(f"{key}={_short(one)}" for key, one in inner.items())
        return f"{value['type']}({details})" if details else value["type"]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
