"""The part of `Scene` that writes and reads fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from h5scene.errors import FieldNotFoundError, FrameNotFoundError, InvalidNameError
from h5scene.format.names import MEMBER_SEPARATOR
from h5scene.phi_fields import field_from_record
from h5scene.scene_batch import SceneBatch, merged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phi.field import Field
    from phiml.math import Tensor


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
        self, *names: str | Sequence[str], frame: int = 0, convert_to_backend: bool = True
    ) -> Any:
        """Returns one field, or a list of fields: all from the same state of the file.

        Args:
            *names: Field names, or one sequence of them. The name of a dict of fields stands for
                all of them, and the dict is returned.
            frame: Frame index.
            convert_to_backend: Whether the values become tensors of PhiML's default backend; NumPy
                else. The precision is the stored one either way.

        Shapes:
            Scene `(bᵇ=B)` with stored `(x, y, vector)`: field `(bᵇ=B, xˢ, yˢ, vectorᶜ)`. Bounds and
            boundary values that differ between the scenes get `b` as well.

        Raises:
            SceneNotFoundError: The scene does not exist.
            FieldNotFoundError: The scene has no field of this name.
            FrameNotFoundError: The field is not stored for this frame.
            BatchMismatchError: The fields of a batch differ in a way that cannot be stacked.
            CorruptDataError: What is stored is not what the file format says.
        """
        is_sequence = len(names) == 1 and isinstance(names[0], (tuple, list))
        wanted: Any = names[0] if is_sequence else names
        try:
            found: dict[str, tuple[str, ...]] = dict.fromkeys(wanted, ())
            stacked = self._read_records(wanted, frame)
        except FieldNotFoundError:
            found = {name: self._fields_of(name) for name in wanted}
            if not any(found.values()):
                raise
            flat = [member for name in wanted for member in found[name] or (name,)]
            stacked = self._read_records(flat, frame)
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
