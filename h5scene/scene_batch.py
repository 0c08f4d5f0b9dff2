"""A batch of scenes as a PhiML object: paths with dims, and ways of asking every scene."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from phi.field import Field
from phiml import math
from phiml.math import Shape, Tensor, batch
from phiml.math.magic import BoundDim

from h5scene.errors import (
    BatchMismatchError,
    FrameNotFoundError,
    InvalidInputError,
    SceneNotFoundError,
)
from h5scene.format.frame_selections import (
    is_one_frame,
    needs_stored_frames,
    selected_frames,
)
from h5scene.format.names import listed, quoted
from h5scene.paths import scene_directory, split_scene_path
from h5scene.phi_fields import dim_specs_from_shape, record_from_field
from h5scene.record import FieldRecord, named_dims, slice_record, stack_records
from h5scene.scene_file import DEFAULT_LOCK_TIMEOUT_S, FRAME_DIM, Mode, SceneFile
from h5scene.scene_properties import public_value
from h5scene.shards import Places, ShardedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Self

    from h5scene.format.filters import Compression
    from h5scene.format.frame_selections import FrameSelection
    from h5scene.record import DimSpec
    from h5scene.regions import Region
    from h5scene.store import Durability

T = TypeVar("T")


@dataclass(frozen=True)
class Member:
    """One scene of a batch: where it stands in the batch, and in which file under which name.

    The file is a shard where the scene is in one.
    """

    index: dict[str, int]
    path: str
    file: str
    scene: str


class SceneBatch:
    """Paths of scenes with PhiML dims, their open files, and the ways of asking all of them.

    The base of `Scene`, which adds what users call.
    """

    def __init__(
        self,
        paths: str | Tensor,
        *,
        durability: Durability = "process",
        lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S,
        compression: Compression = "fast",
        workers: int | None = None,
        background: bool = False,
        _places: Places | None = None,
    ):
        tensor = math.wrap(paths)
        self._paths: Tensor = (
            math.wrap(math.map(_usual_path, tensor)) if tensor.shape.volume else tensor
        )
        self._options: dict[str, Any] = {
            "durability": durability,
            "lock_timeout_s": lock_timeout_s,
            "compression": compression,
            "workers": workers,
            "background": background,
        }
        self._files: dict[tuple[int, str, Mode], SceneFile] = {}
        self._places = _places or Places()
        indices = list(self._paths.shape.meshgrid())
        named = [split_scene_path(self._paths[index].native()) for index in indices]
        self._found = self._find(indices, named)
        self._shards = {member.file for member in self._found if not _is_in_scene_file(member)}

    # --- as a PhiML object ------------------------------------------------------------------------

    def __getitem__(self, item: Any) -> Self:
        return self._with_paths(self._paths[item])

    def __getattr__(self, name: str) -> BoundDim:
        if hasattr(type(self), name):  # a property failed inside; its error must not become a dim
            raise AttributeError(f"the property {name!r} of {type(self).__name__} failed")
        return BoundDim(self, name)

    def __variable_attrs__(self) -> tuple[str, ...]:
        return ("paths",)

    def __with_attrs__(self, **attrs: Any) -> Self:
        return self._with_paths(attrs.get("paths", self._paths))

    def __getstate__(self) -> dict[str, Any]:
        # Open files do not cross processes.
        return {**self.__dict__, "_files": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SceneBatch):
            return NotImplemented
        return bool(self.shape == other.shape) and self._keys() == other._keys()

    def __hash__(self) -> int:
        return hash(self._keys())

    def __repr__(self) -> str:
        return f"{self._paths:no-dtype}"

    @property
    def shape(self) -> Shape:
        """Batch dims of the scenes; empty for a single scene."""
        return self._paths.shape

    @property
    def is_batch(self) -> bool:
        """Whether this is a batch of scenes, be it of one."""
        return bool(self._paths.rank > 0)

    @property
    def path(self) -> str:
        """Path of the scene: that of its file, a slash, and its name. Only single scenes have one.

        Raises:
            InvalidInputError: This is a batch.
        """
        if self.is_batch:
            raise InvalidInputError(
                f"a batch of scenes {self.shape} has no single path; use paths, or slice the batch"
            )
        return str(self._paths.native())

    @property
    def paths(self) -> Tensor:
        """Paths of all scenes, with the shape of the batch."""
        return self._paths

    # --- files ------------------------------------------------------------------------------------

    @property
    def _members(self) -> tuple[Member, ...]:
        """The scenes, in the order of the batch. They move when their shard is merged."""
        if not all(map(os.path.exists, self._shards)):
            indices = [member.index for member in self._found]
            self._found = self._find(indices, [split_scene_path(m.path) for m in self._found])
            self._shards = {member.file for member in self._found if not _is_in_scene_file(member)}
        return self._found

    def _find(
        self, indices: Sequence[dict[str, int]], named: Sequence[tuple[str, str]]
    ) -> tuple[Member, ...]:
        """Returns scenes, given by scene file and name, with the files that they stand in now."""
        return tuple(
            Member(index, f"{parent}/{scene}", file, scene)
            for index, file, (parent, scene) in zip(
                indices, self._places.find(named), named, strict=True
            )
        )

    def _copies(self) -> dict[str, list[str]]:
        """Returns the scenes of this batch that other files hold as well, by the path of these."""
        sharded: dict[str, ShardedFile] = {}
        found: dict[str, list[str]] = {}
        for member in self._members:
            parent = split_scene_path(member.path)[0]
            if parent not in sharded:
                sharded[parent] = ShardedFile(parent)
            for file in sharded[parent].copies_of(member.scene, member.file):
                found.setdefault(file, []).append(member.scene)
        return found

    def _keep(self, file: SceneFile) -> None:
        """Uses a file that was opened with the options of this batch."""
        self._files[os.getpid(), file.path, "r+"] = file

    def _with_paths(self, paths: Tensor) -> Self:
        """Returns other scenes, with the options of these."""
        return type(self)(paths, **self._options, _places=self._places)

    def _keys(self) -> tuple[str, ...]:
        """Returns the path of each scene, in the order of the batch."""
        return tuple(member.path for member in self._members)

    def _file(self, path: str, mode: Mode = "r+") -> SceneFile:
        """Returns the open file."""
        key = (os.getpid(), path, mode)
        if key not in self._files:
            self._files[key] = SceneFile(path, mode, **self._options)
        return self._files[key]

    def _by_file(
        self, mode: Mode = "r+", *, existing_only: bool = False
    ) -> list[tuple[SceneFile, list[Member]]]:
        """Returns the scenes of each file."""
        grouped: dict[str, list[Member]] = {}
        for member in self._members:
            if not existing_only or Path(member.file).exists():
                grouped.setdefault(member.file, []).append(member)
        return [(self._file(path, mode), members) for path, members in grouped.items()]

    def _from_each(self, read: Callable[[SceneFile, str], T]) -> list[T]:
        """Returns what is read from each scene, in the order of the batch."""
        return [read(self._file(member.file), member.scene) for member in self._members]

    def _check_existence(self) -> None:
        """Raises SceneNotFoundError when one of the scenes does not exist."""
        for member in self._members:
            if not Path(member.file).exists():
                raise SceneNotFoundError(_missing_file(member), file=member.file)
        for file, members in self._by_file():
            for member in members:
                if not file.has_scene(member.scene):
                    raise SceneNotFoundError(
                        f"no scene {member.scene!r} in {member.file}; {listed(file.scenes)}",
                        file=member.file,
                    )

    # --- fields and values ------------------------------------------------------------------------

    def _records(self, field: Any, name: str) -> dict[str, FieldRecord]:
        """Returns the field as a record for each scene, by the path of the scene.

        Raises:
            InvalidInputError: It is no field.
            BatchMismatchError: It has a dim of this batch with another size, type or labels.
        """
        if not isinstance(field, (Field, Tensor)):
            raise InvalidInputError(
                f"{name!r} is of type {type(field).__name__}; only fields and tensors can be "
                "written, such as CenteredGrid"
            )
        others = self.shape.non_batch
        if not others:
            record = record_from_field(field)
            if not self.is_batch:
                return {self._members[0].path: record}
            self._check_dims(named_dims(record), name)
            return {m.path: slice_record(record, m.index) for m in self._members}
        # Along other dims, such as the components of a vector, PhiFlow knows what a slice is.
        shape = field.shape
        specs = zip(dim_specs_from_shape(shape), shape.sizes, strict=True)
        self._check_dims({spec.name: (spec, size) for spec, size in specs}, name)
        common = {dim.name for dim in others.only(shape)}
        records = {}
        for member in self._members:
            part = field[{dim: i for dim, i in member.index.items() if dim in common}]
            records[member.path] = slice_record(record_from_field(part), member.index)
        return records

    def _check_dims(self, dims: Mapping[str, tuple[DimSpec, int]], name: str) -> None:
        """Raises BatchMismatchError when a dim of this batch is another one in a field."""
        for spec, size in zip(dim_specs_from_shape(self.shape), self.shape.sizes, strict=True):
            found, found_size = dims.get(spec.name, (spec, size))
            if (found.type, found_size) != (spec.type, size):
                raise BatchMismatchError(
                    f"field {name!r} has the {found.type} dim {spec.name}={found_size}, this batch "
                    f"of scenes the {spec.type} dim {spec.name}={size}; slice one of them"
                )
            if None not in (found.labels, spec.labels) and found.labels != spec.labels:
                raise BatchMismatchError(
                    f"field {name!r} has the labels {quoted(found.labels or ())} along "
                    f"{spec.name!r}, this batch of scenes {quoted(spec.labels or ())}"
                )

    def _read_records(
        self,
        names: Sequence[str],
        frames: FrameSelection,
        region: Region | Sequence[Region] | None = None,
        dim: DimSpec = FRAME_DIM,
    ) -> list[FieldRecord]:
        """Returns one record for each name, stacked along the dims of this batch.

        Several frames are stacked along `dim`, which is put after the dims of this batch.
        """
        if len(self._by_file()) > 1 and needs_stored_frames(frames):
            selected = self._selected_frames(names, frames)
            frames = selected[0] if is_one_frame(frames) else selected

        def read(file: SceneFile, scenes: list[str]) -> list[tuple[FieldRecord, ...]]:
            if is_one_frame(frames):
                return file.read_frames(scenes, names, frames, region)  # type: ignore[arg-type]
            return file.read_stacks(scenes, names, frames, region, dim=dim)

        return self._from_each_file(read)

    def _outline(self, name: str, frame: int, stacked_along: tuple[DimSpec, int]) -> FieldRecord:
        """Returns a field without its values, as if it were read for a number of frames."""
        dim, count = stacked_along

        def describe(file: SceneFile, scenes: list[str]) -> list[tuple[FieldRecord, ...]]:
            described = file.describe_frames(scenes, [name], frame)
            if not count:
                return described
            return [(stack_records([outline] * count, dim),) for (outline,) in described]

        return self._from_each_file(describe)[0]

    def _from_each_file(
        self, read: Callable[[SceneFile, list[str]], list[tuple[FieldRecord, ...]]]
    ) -> list[FieldRecord]:
        """Returns what is read of each name, stacked along the dims of this batch."""
        found: dict[str, tuple[FieldRecord, ...]] = {}
        for file, members in self._by_file():
            records = read(file, [member.scene for member in members])
            for member, record in zip(members, records, strict=True):
                found[member.path] = record
        stacked = [found[member.path] for member in self._members]
        # The last dim varies fastest: neighbours are stacked first, along it.
        dims = zip(dim_specs_from_shape(self.shape), self.shape.sizes, strict=True)
        for spec, size in reversed(list(dims)):
            groups = [stacked[i : i + size] for i in range(0, len(stacked), size)]
            stacked = [
                tuple(stack_records(records, spec) for records in zip(*group, strict=True))
                for group in groups
            ]
        return list(stacked[0])

    def _selected_frames(self, names: Sequence[str], selection: FrameSelection) -> tuple[int, ...]:
        """Returns the frames that are meant, which all of these fields have in all scenes.

        Raises:
            FrameNotFoundError: One of them is not stored.
            InvalidInputError: This selects no frames, or one of them twice.
        """
        common = [
            file.common_frames([member.scene for member in members], names)
            for file, members in self._by_file()
        ]
        known = sorted(set(common[0]).intersection(*common[1:]))
        what = f"{quoted(names)} in {self}"
        selected = selected_frames(selection, lambda: known, what)
        missing = sorted(set(selected).difference(known))
        if missing:
            raise FrameNotFoundError(
                f"no frame {', '.join(map(str, missing[:8]))} of {what}; it has {len(known)} "
                f"frames{f' from {known[0]} to {known[-1]}' if known else ''}"
            )
        return selected

    def _fields_of(self, structure: str) -> tuple[str, ...]:
        """Returns the names of the fields of a structure; of the first scene of a batch."""
        first = self._members[0]
        return self._file(first.file).fields_of(first.scene, structure)

    def _numbers(self, value: Any, member: Member, what: str) -> list[float]:
        """Returns the numbers that `value` is for one scene: one, or those along one more dim.

        Raises:
            InvalidInputError: It is no number.
            BatchMismatchError: It has two or more dims beside those of this batch.
        """
        sliced = self._sliced(value, member) if isinstance(value, Tensor) else value
        if isinstance(sliced, Tensor) and sliced.rank > 1:
            raise BatchMismatchError(f"{what} has the dims {sliced.shape} beside {self.shape}")
        try:
            if isinstance(sliced, Tensor):
                numbers = sliced.numpy(sliced.shape).reshape(-1).tolist()
                return [float(number) for number in numbers]
            return [float(sliced)]
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"{what} must be a number, not {type(value).__name__} {value!r}"
            ) from error

    def _sliced(self, tensor: Tensor, member: Member) -> Tensor:
        """Returns the slice of a tensor for one scene.

        Raises:
            BatchMismatchError: It has a dim of this batch in another size.
        """
        for dim in tensor.shape.only(self.shape):
            if dim.size != self.shape.get_size(dim.name):
                raise BatchMismatchError(
                    f"a tensor has {dim.name}={dim.size}, this batch of scenes is {self.shape}"
                )
        return tensor[member.index]

    def _number(self, value: Any, member: Member, what: str) -> float:
        """Returns the one number that `value` is for one scene; raises as `_numbers` does."""
        numbers = self._numbers(value, member, what)
        if len(numbers) != 1:
            raise BatchMismatchError(f"{what} must be one number for each scene, not {numbers!r}")
        return numbers[0]

    def _combined(self, values: Sequence[Any]) -> Any:
        """Returns the one value that all scenes have, or a tensor of those that differ.

        Dicts of the same keys stay dicts, with such values.
        """
        public = [public_value(value) for value in values]
        if all(value == values[0] for value in values[1:]):
            return public[0]
        if all(isinstance(value, dict) and value.keys() == public[0].keys() for value in public):
            return {name: self._combined([value[name] for value in values]) for name in public[0]}
        if all(isinstance(value, (bool, int, float, complex, Tensor)) for value in public):
            return math.stack(public, self.shape)
        return arranged(public, self.shape)


def arranged(values: Sequence[Any], dims: Shape) -> Any:
    """Returns values, the last dim varying fastest, with these dims; the one value without any."""
    if not dims:
        return values[0]
    return math.unpack_dim(math.layout([*values], batch("_scenes")), "_scenes", dims)


def merged(values: Any, more: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Returns what a call was given as a dict, and as keywords, which win."""
    try:
        return {**dict(values), **more}
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"{what} must be a dict by name, not {type(values).__name__} {values!r}"
        ) from error


def in_all(dicts: Sequence[Mapping[Any, Any]]) -> list[Any]:
    """Returns the keys that all dicts have, sorted."""
    return sorted(set.intersection(*(set(entries) for entries in dicts)))


def _usual_path(path: str) -> str:
    """Returns the path of a scene in its usual form: scene file with its suffix, slash, name."""
    return "/".join(split_scene_path(path))


def _is_in_scene_file(member: Member) -> bool:
    """Whether a scene does not stand in a shard."""
    return member.file == split_scene_path(member.path)[0]


def _missing_file(member: Member) -> str:
    """Returns the message for a scene whose file does not exist."""
    if ShardedFile(member.file).shards:
        return f"no scene {member.scene!r} in {member.file}, of which there are only shards"
    message = f"no scene {member.scene!r} in {member.file}: there is no such file"
    directory = scene_directory(member.file, member.scene)
    if directory is not None:
        return (
            f"{message}, but {directory} is a scene of PhiFlow; read it with phi.field.Scene, or "
            "bring it in with `h5scene import`"
        )
    return f"{message}; create it with Scene.create"
