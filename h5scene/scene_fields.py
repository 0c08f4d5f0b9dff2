"""The part of `Scene` that writes and reads fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phiml.math import Shape, batch

from h5scene.errors import FieldNotFoundError, FrameNotFoundError, InvalidNameError
from h5scene.format.names import MEMBER_SEPARATOR
from h5scene.lazy_field import LazyField, lazy_field
from h5scene.phi_fields import field_from_record, region_from_selection, stacking_dim
from h5scene.scene_batch import SceneBatch, merged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phi.field import Field
    from phiml.math import Tensor

    from h5scene.format.frame_selections import FrameSelection
    from h5scene.phi_fields import RegionLike

FRAME = batch("frame")
"""Along what several frames are stacked."""


class SceneFields(SceneBatch):
    """Fields by name and frame."""

    def write(
        self,
        data: Mapping[str, Any] | None = None,
        frame: int = 0,
        *,
        keep_digits: int | Mapping[str, int] | None = None,
        **kw_data: Field | Tensor | Mapping[str, Any],
    ) -> None:
        """Writes the fields of one frame: all of them become visible, or none.

        A field already stored under this name and frame is replaced.

        Args:
            data: Maps field names to fields, or to dicts of fields: the field `velocity` of
                `fluid` is stored as `fluid_velocity`, and `read("fluid")` returns the dict.
                A tensor can be written in place of a field.
            frame: Frame index, at least 0. A label, not a time; see `put_time`.
            keep_digits: Number of decimal digits to keep, of all fields or by name of the field,
                such as `{"smoke": 3}`; all of them by default. The values are rounded, which makes
                them smaller, by at most `0.5 * 10 ** -keep_digits` of their magnitude. The file
                says by how much. Fields of whole numbers stay as they are.
            **kw_data: Further fields; on a name clash these win over `data`.

        Shapes:
            Scene `(bᵇ=B)` and field `(bᵇ=B, xˢ, yˢ, vectorᶜ)`: one `(x, y, vector)` dataset per
            scene. A field without `b` is stored in each of the `B` scenes.

        Durability:
            On return the frame survives the death of this process. If the process dies earlier, the
            file still holds the frame as it was before the call. A batch over several files is one
            such step for each file. With the option `background`, see `flush`.

        Raises:
            InvalidInputError: `frame` is negative or no whole number, a value is no field, or
                `keep_digits` is no number of digits or names a field that is not written.
            InvalidNameError: A name is empty or reserved once normalised, or stands for a field
                spelled otherwise.
            BatchMismatchError: A field has a dim of this scene with another size, type or labels.
            UnsupportedFieldError: A field is of a kind that cannot be stored.
            SceneNotFoundError: The scene does not exist.
            ReadOnlyError: The file cannot be written.
            BusyError: Another process is writing and did not finish within the timeout.
            StorageError: The disk is full or failed; the file is at its last committed state.

        Example:
            >>> scene = Scene.create("runs")
            >>> scene.write({"smoke": CenteredGrid(1.0, 0, x=4, y=3)}, frame=5)
        """
        fields = _flat(merged(data or {}, kw_data, "fields"))
        records = {name: self._records(field, name) for name, field in fields.items()}
        for file, members in self._by_file():
            file.write_frame(
                frame,
                {
                    m.scene: {name: by_scene[m.path] for name, by_scene in records.items()}
                    for m in members
                },
                keep_digits=keep_digits,
            )

    def write_field(self, field: Field, name: str, frame: int) -> None:
        """Writes one field; see `write`, which raises the same errors."""
        self.write({name: field}, frame)

    def read(
        self,
        *names: str | Sequence[str],
        frame: FrameSelection = 0,
        convert_to_backend: bool = True,
        region: RegionLike | None = None,
        dim: Shape | str = FRAME,
    ) -> Any:
        """Returns one field, or a list of fields: all from the same state of the file.

        Args:
            *names: Field names, or one sequence of them. The name of a dict of fields stands for
                all of them, and the dict is returned.
            frame: Frame number; -1 is the last frame, -2 the one before. Several numbers, such as
                `range(0, 100, 5)` or a list, give several frames in one field. So do a slice of
                the frames that are stored, whose ends are frame numbers (negative ones count from
                the last frame) and whose step counts frames, and `'all'` of them. Where several
                fields or scenes are read, the frames that count are those that all of them have.
            convert_to_backend: Whether the values become tensors of PhiML's default backend; NumPy
                else. The precision is the stored one either way.
            region: What to read of each field; all of it by default. A dict by name of the dim,
                such as `{'x': slice(0, 32), 'vector': 'x'}`: an entry by number or label, which
                removes the dim; a slice; a list of entries or `'x,y'`. Or a `Box` for the cells
                that it overlaps. Or a list of both. Only the chunks that the region touches are
                read from the file.
            dim: Along what several frames are stacked: a batch, channel or instance dim. The frame
                numbers are its labels.

        Shapes:
            Scene `(bᵇ=B)` with stored `(x, y, vector)`: field `(bᵇ=B, xˢ, yˢ, vectorᶜ)`. Bounds and
            boundary values that differ between the scenes get `b` as well. Several frames:
            `(bᵇ=B, frameᵇ=0,5,…, xˢ, yˢ, vectorᶜ)`.
            A region of a grid is a grid, with the bounds of its cells. Its boundary is that of the
            whole grid on sides where it reaches the edge, and `ZERO_GRADIENT` on others; a periodic
            axis stays periodic if all of it is read. One component of a staggered grid is a
            centered grid with its values at cell centres, as in PhiFlow.

        Raises:
            SceneNotFoundError: The scene does not exist.
            FieldNotFoundError: The scene has no field of this name.
            FrameNotFoundError: The field is not stored for this frame.
            BatchMismatchError: The fields of a batch, or the frames, differ in a way that cannot be
                stacked.
            InvalidInputError: There are no such frames or region, a region is empty or has gaps, or
                there is no memory for all of it.
            UnsupportedFieldError: The region is no field: two components of three of a staggered
                grid, or positions in a field that is no grid.
            CorruptDataError: What is stored is not what the file format says.

        Example:
            >>> scene = Scene.create("runs")
            >>> for frame in range(10):
            ...     scene.write(smoke=CenteredGrid(frame, 0, x=16, y=16), frame=frame)
            >>> scene.read("smoke", frame=slice(-3, None), region={"x": slice(0, 4)}).shape
            (frameᵇ=7,8,9, xˢ=4, yˢ=16)
        """
        is_sequence = len(names) == 1 and isinstance(names[0], (tuple, list))
        wanted: Any = names[0] if is_sequence else names
        what = frame, region_from_selection(region), stacking_dim(dim)
        try:
            found: dict[str, tuple[str, ...]] = dict.fromkeys(wanted, ())
            stacked = self._read_records(wanted, *what)
        except FieldNotFoundError:
            found = {name: self._fields_of(name) for name in wanted}
            if not any(found.values()):
                raise
            flat = [member for name in wanted for member in found[name] or (name,)]
            stacked = self._read_records(flat, *what)
        read = iter(
            [field_from_record(record, convert_to_backend=convert_to_backend) for record in stacked]
        )
        fields = [
            _nested({member: next(read) for member in found[name]}, name)
            if found[name]
            else next(read)
            for name in wanted
        ]
        return fields[0] if len(fields) == 1 else fields

    def lazy(
        self, name: str, frame: FrameSelection = "all", *, dim: Shape | str = FRAME
    ) -> LazyField:
        """Returns a field that is not read yet: its shape, dtype, frames, geometry and boundary.

        It is sliced like a field, and reads what is left of it on `load()`, or when NumPy asks.

        Args:
            name: Field name.
            frame: See `read`; all frames by default.
            dim: See `read`.

        Raises:
            SceneNotFoundError: The scene does not exist.
            FieldNotFoundError: The scene has no field of this name.
            FrameNotFoundError: The field has no such frames.
            BatchMismatchError: The fields of a batch differ in a way that cannot be stacked.
            InvalidInputError: This selects no frames, or `dim` is no dim for them.
            CorruptDataError: What is stored is not what the file format says.

        Example:
            >>> scene = Scene.create("runs")
            >>> for frame in range(0, 40, 10):
            ...     scene.write(smoke=CenteredGrid(frame, 0, x=32, y=16), frame=frame)
            >>> smoke = scene.lazy("smoke")
            >>> smoke.shape, smoke.dtype
            ((frameᵇ=0,10,20,30, xˢ=32, yˢ=16), dtype('float32'))
            >>> smoke.frame[3].x[0:16].load().shape
            (xˢ=16, yˢ=16)
        """
        return lazy_field(self, name, frame, stacking_dim(dim))

    def read_field(self, name: str, frame: int, convert_to_backend: bool = True) -> Field:
        """Returns one field; see `read`, which raises the same errors."""
        return self.read(name, frame=frame, convert_to_backend=convert_to_backend)

    read_array = read_field

    @property
    def fieldnames(self) -> tuple[str, ...]:
        """Names of all fields, sorted; of all scenes of a batch."""
        return tuple(
            sorted(set().union(*self._from_each(lambda file, scene: file.fieldnames(scene))))
        )

    @property
    def frames(self) -> tuple[int, ...]:
        """Numbers of all frames for which a field is stored, sorted; of all scenes of a batch."""
        return tuple(
            sorted(
                {
                    frame
                    for fields in self._from_each(lambda file, scene: file.frames(scene))
                    for frames in fields.values()
                    for frame in frames
                }
            )
        )

    @property
    def complete_frames(self) -> tuple[int, ...]:
        """Numbers of the frames for which every field of the scene is stored, sorted.

        Of a batch, the frames that are complete in every scene.
        """
        complete = [
            set.intersection(*map(set, fields.values())) if fields else set()
            for fields in self._from_each(lambda file, scene: file.frames(scene))
        ]
        return tuple(sorted(set.intersection(*complete)))

    def _frame_to_resume_from(self, frame: int | None) -> int:
        """Returns the frame that these scenes can go on from: this one, or the last complete one.

        -1 if no field is stored at all.

        Raises:
            FrameNotFoundError: A scene does not have it.
        """
        common: set[int] | None = None
        stored = self._from_each(lambda file, scene: file.frames(scene))
        for member, fields in zip(self._members, stored, strict=True):
            found: set[int] = set().union(*fields.values())
            if frame is not None and frame not in found:
                raise FrameNotFoundError(
                    f"no field is stored for frame {frame!r} of {member.path}; "
                    + (f"the last one is {max(found)}" if found else "it has no frames"),
                    file=member.file,
                    location=f"/{member.scene}",
                )
            moving = [set(frames) for frames in fields.values() if len(frames) > 1]
            found = set.intersection(*(moving or map(set, fields.values()))) if fields else set()
            common = found if common is None else common & found
        if frame is not None:
            return frame
        if not common and any(stored):
            raise FrameNotFoundError(
                f"no frame is stored for all fields of {self}; say from which one to go on"
            )
        return max(common or (), default=-1)


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns fields by name, those of dicts by the names of both with a dot between them."""
    flat: dict[str, Any] = {}
    for name, field in fields.items():
        if not isinstance(field, Mapping):
            flat[f"{prefix}{name}" if prefix else name] = field
        elif not isinstance(name, str) or not name:
            raise InvalidNameError(f"a dict of fields must have a name, not {name!r}")
        else:
            flat |= _flat(field, f"{prefix}{name}{MEMBER_SEPARATOR}")
    return flat


def _nested(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns the dict of fields that `_flat` named after `name` and their own names."""
    nested: dict[str, Any] = {}
    for member, field in fields.items():
        place, rest = nested, member[len(name) + 1 :]
        while MEMBER_SEPARATOR in rest:
            part, _, inner = rest.partition(MEMBER_SEPARATOR)
            if not isinstance(place.setdefault(part, {}), dict):
                break  # a field has this name already: the others keep their dots
            place, rest = place[part], inner
        place[rest] = field
    return nested
