"""One HDF5 file of scenes as records: the room where the file format and the store meet.

`SceneFile` needs no PhiFlow. Every call that changes the file is one transaction and happens
completely or not at all; `SceneFile.transaction` makes several calls one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h5scene.errors import AlreadyExistsError, InvalidInputError
from h5scene.file_attachments import FileAttachments
from h5scene.file_values import Curve, FileValues
from h5scene.format import names, stacks, tables
from h5scene.format.rounding import digits_by_field
from h5scene.open_file import DEFAULT_LOCK_TIMEOUT_S, Mode, in_sandbox
from h5scene.record import DimSpec, copied_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from h5scene.format import tree
    from h5scene.format.frame_selections import FrameSelection
    from h5scene.record import Array, FieldRecord
    from h5scene.regions import Region

__all__ = ["DEFAULT_LOCK_TIMEOUT_S", "FRAME_DIM", "Curve", "Mode", "SceneFile"]

FRAME_DIM = DimSpec("frame", "batch")
"""Along what frames are stacked, unless a user wants another dim."""


class SceneFile(FileValues, FileAttachments):
    """One HDF5 file of scenes; their fields, frames, properties, curves and attached files.

    Args:
        path: Path of the file; `.h5` is added where it has no HDF5 suffix.
        mode: `r` reads an existing file, `r+` reads and writes it, `a` creates it when there is
            none, `x` creates it and fails when there is one.
        durability: `process`: what a call wrote survives the death of this process. `power`: a
            power loss, too.
        lock_timeout_s: How long to wait for other processes, in seconds.
        compression: `fast`, `small`, or `None` for none. All are lossless and readable by every
            HDF5 library.
        workers: Number of threads that compress and decompress; by default one for each processor
            that this process may use.
        background: Whether `write_frame`, `put_times` and `log_scalars` return before they have
            happened; see `flush`.
        trusted: Whether links in the file are followed, also into other files, and datasets of
            any kind are read. Only for files whose origin you know.
        max_array_bytes: How large one array in the file may be, unpacked; all of the machine's
            memory by default.
        sandbox: Whether all of the file is read in a process of its own, with limits of memory and
            time: for files that may crash whoever reads them. Mode `r` only; several times slower
            for small fields.

    Durability:
        Each call that changes the file is a transaction: when it has returned, its changes survive;
        a call that did not return has happened completely or not at all.
        In the background, that holds from `flush` on.

    Raises:
        NotFoundError: Mode `r` or `r+`, and there is no such file.
        AlreadyExistsError: Mode `x`, and there is one.
        NotASceneFileError: The path is a directory, another kind of file, or an HDF5 file of
            another program.
        UnsupportedVersionError: The file was written by a newer h5scene.
        ReadOnlyError: The file has to be created, and the directory cannot be written.

    Example:
        >>> with SceneFile("runs.h5") as file:
        ...     file.create_scenes("sim", 2)
        ('sim_000000', 'sim_000001')
    """

    # --- scenes -----------------------------------------------------------------------------------

    @property
    @in_sandbox
    def scenes(self) -> tuple[str, ...]:
        """Names of all scenes, sorted."""
        return self._read(lambda file: file.scene_names())

    @in_sandbox
    def has_scene(self, scene: str) -> bool:
        """Whether there is a scene of this name."""
        return self._read(lambda file: file.has_scene(scene))

    def create_scenes(
        self, name: str, count: int = 1, *, first: int = 0, step: int = 1
    ) -> tuple[str, ...]:
        """Creates new scenes of the series `name`, and returns their names.

        They are numbered on from the highest number; two processes never get the same.

        Args:
            name: Of the series.
            count: How many scenes.
            first: The lowest number that is taken.
            step: Numbers are `first` and every `step`-th after it.

        Raises:
            InvalidNameError: `name` cannot be the name of a scene.
            InvalidInputError: `count`, `first` or `step` is no such number.
        """
        with self._located(None):
            names.scene_link(name)
            for value, least, what in ((count, 0, "count"), (first, 0, "first"), (step, 1, "step")):
                if names.whole_number(value, what) < least:
                    raise InvalidInputError(f"{what} must be at least {least}, not {value!r}")
        with self._transaction() as file:
            start = first + -(-max(file.next_number(name) - first, 0) // step) * step
            created = [names.numbered_scene(name, start + i * step) for i in range(count)]
            for scene in created:
                names.scene_link(scene)  # with its number it may be too long
            for scene in created:
                file.create_scene(scene)
        return tuple(created)

    def create_scene(self, scene: str) -> None:
        """Creates the scene when there is none of this name.

        Raises:
            InvalidNameError: `scene` cannot be the name of a scene.
            AlreadyExistsError: Something that is no scene has this name.
        """
        with self._located(None):
            names.scene_link(scene)
        with self._transaction(scene) as file:
            if not file.has_scene(scene):
                if scene in file.h5:
                    raise AlreadyExistsError(
                        f"{self._path} holds something named {scene!r} that is no scene"
                    )
                file.create_scene(scene)

    def remove_scenes(self, scenes: Iterable[str]) -> None:
        """Removes these scenes with all they hold; those that do not exist are passed over.

        Later writes may use the space again; the file itself does not become smaller.
        """
        with self._transaction() as file:
            for scene in [scene for scene in dict.fromkeys(scenes) if file.has_scene(scene)]:
                file.remove_scene(scene)

    def rename_scene(self, scene: str, new_name: str) -> None:
        """Gives the scene another name.

        Raises:
            SceneNotFoundError: There is no such scene.
            AlreadyExistsError: The new name is taken.
            InvalidNameError: `new_name` cannot be the name of a scene.
        """
        with self._located(scene):
            names.scene_link(new_name)
        with self._transaction(scene) as file:
            file.scene(scene)
            if new_name == scene:
                return
            if new_name in file.h5:
                raise AlreadyExistsError(
                    f"cannot rename {scene!r} to {new_name!r}: {self._path} has it already; "
                    "remove it first, or choose another name"
                )
            file.move_scene(scene, new_name)

    # --- fields and frames ------------------------------------------------------------------------

    @in_sandbox
    def fieldnames(self, scene: str) -> tuple[str, ...]:
        """Returns the names of all fields of the scene, sorted.

        Raises:
            SceneNotFoundError: There is no such scene.
        """
        return self._read(lambda file: file.fieldnames(scene), scene)

    @in_sandbox
    def fields_of(self, scene: str, structure: str) -> tuple[str, ...]:
        """Returns the names of the fields that were written as members of a structure, sorted.

        Those of `fluid` are `fluid.velocity`, `fluid.smoke.density` and the like.

        Raises:
            SceneNotFoundError: There is no such scene.
        """
        return self._read(lambda file: file.fields_of(scene, structure), scene)

    @in_sandbox
    def frames(self, scene: str) -> dict[str, tuple[int, ...]]:
        """Returns the numbers of the frames of each field, sorted.

        Raises:
            SceneNotFoundError: There is no such scene.
        """
        return self._read(
            lambda file: {name: file.frames(scene, name) for name in file.fieldnames(scene)}, scene
        )

    def write_frame(
        self,
        frame: int,
        fields: Mapping[str, Mapping[str, FieldRecord]],
        *,
        keep_digits: int | Mapping[str, int] | None = None,
    ) -> None:
        """Writes fields of one frame, given by scene and name: all of them become visible, or none.

        A field that is stored under this name and frame already is replaced.

        Args:
            frame: Frame number, at least 0.
            fields: Fields by scene and name.
            keep_digits: Number of decimal digits to keep of floats and complex numbers, of all
                fields or by name of the field. Every value then differs by less than half a unit
                in its last digit; `max_relative_error` tells by how much at most. All bits by
                default.

        Raises:
            InvalidInputError: `frame` is negative or no whole number, or `keep_digits` is none or
                names a field that is not written.
            InvalidNameError: A name is empty or reserved once normalised, or stands for a field
                spelled otherwise.
            SceneNotFoundError: There is no such scene.
            ReadOnlyError: The file cannot be written.
            BusyError: Another process is writing and did not finish within the timeout.
            StorageError: The disk is full or failed; the file is at its last committed state.
        """
        with self._located(None):
            names.frame_link(frame)
            digits = digits_by_field(keep_digits, {name for f in fields.values() for name in f})
        for scene, records in fields.items():
            with self._located(scene):
                names.check_distinct(records)
        byte_count = 0
        if self._may_wait():
            fields, byte_count = copied_records(fields)

        def write(file: tree.SceneTree) -> None:
            planned = []
            for scene, records in fields.items():
                with self._located(scene):
                    file.check_scene(scene)
                    planned += [
                        file.plan_frame(scene, name, frame, record, keep_digits=digits.get(name))
                        for name, record in records.items()
                    ]
            for plan in planned:
                file.write_frame(plan, self._compression, workers=self._workers)

        self._change(write, byte_count)

    def remove_after(self, scenes: Iterable[str], frame: int) -> None:
        """Removes all that is later than a frame: of all of these scenes, or of none.

        These are the frames of all fields, fields that have no other ones, times, and the entries
        of curves whose step is larger. Properties and attached files stay.

        Args:
            scenes: Names of the scenes.
            frame: Number of the last frame to keep; -1 to keep none.

        Raises:
            InvalidInputError: `frame` is no whole number from -1 on.
            SceneNotFoundError: There is no such scene.
        """
        with self._located(None):
            if frame != -1:
                names.frame_link(frame)
        scenes = list(scenes)
        with self._transaction() as file:
            groups = {scene: file.scene(scene) for scene in scenes}
            tables_of = {scene: tables.tables_by_step(group) for scene, group in groups.items()}
            for scene in scenes:
                for table in tables_of[scene]:
                    tables.remove_rows_after(table, frame)
                file.remove_frames_after(scene, frame)

    @in_sandbox
    def common_frames(self, scenes: Sequence[str], fieldnames: Sequence[str]) -> tuple[int, ...]:
        """Returns the numbers of the frames that all of these fields have in all scenes, sorted.

        Raises:
            SceneNotFoundError: There is no such scene.
            FieldNotFoundError: A scene has no field of this name.
        """
        return self._read(lambda file: file.common_frames(scenes, fieldnames))

    @in_sandbox
    def read_frames(
        self,
        scenes: Sequence[str],
        fieldnames: Sequence[str],
        frame: int,
        region: Region | Sequence[Region] | None = None,
    ) -> list[tuple[FieldRecord, ...]]:
        """Returns, for each scene, fields of one frame: all from the same state of the file.

        Args:
            scenes: Names of the scenes.
            fieldnames: Names of the fields.
            frame: Frame number. -1 is the last of those that all fields have in all scenes.
            region: What to read of the fields, by name of the dim: an entry by number or label,
                which removes the dim; a slice; a sequence of entries; along the axes of grids a
                `h5scene.regions.Between` positions. All of the other dims. Or several of these,
                each of what the one before took. Only the chunks that it touches are read from the
                file.

        Raises:
            SceneNotFoundError: There is no such scene.
            FieldNotFoundError: A scene has no field of this name.
            FrameNotFoundError: The field is not stored for this frame.
            InvalidInputError: There is no such region.
            UnsupportedFieldError: The region is no field that could be described.
            CorruptDataError: What is stored is not what the file format says.
        """

        def read(file: tree.SceneTree) -> list[tuple[FieldRecord, ...]]:
            (number,) = file.selected_frames(scenes, fieldnames, frame)
            found = []
            for scene in scenes:
                with self._located(scene):
                    found.append(
                        tuple(
                            file.read_field(scene, name, number, region, workers=self._workers)
                            for name in fieldnames
                        )
                    )
            return found

        return self._read(read)

    @in_sandbox
    def read_stacks(
        self,
        scenes: Sequence[str],
        fieldnames: Sequence[str],
        frames: FrameSelection,
        region: Region | Sequence[Region] | None = None,
        *,
        dim: DimSpec = FRAME_DIM,
    ) -> list[tuple[FieldRecord, ...]]:
        """Returns, for each scene, fields of many frames: all from the same state of the file.

        Args:
            scenes: Names of the scenes.
            fieldnames: Names of the fields.
            frames: Numbers of frames, where negative ones count from the last; a slice of the
                frames that all fields have in all scenes; or `all` of them. The ends of a slice are
                frame numbers, its step counts frames.
            region: See `read_frames`.
            dim: Along what to stack the frames. Its labels are their numbers.

        Shapes:
            Stored `(x, y, vector)`: `(frame, x, y, vector)`. The values of all scenes stand in one
            array where they have one dtype and shape. Bounds and boundary values that differ
            between frames get the dim as well.

        Raises:
            BatchMismatchError: The frames differ in a way that cannot be stacked.
            InvalidInputError: This selects no frames, or one of them twice; there is no such
                region, or no memory for it.
            H5SceneError: As `read_frames`.
        """

        def read(file: tree.SceneTree) -> list[tuple[FieldRecord, ...]]:
            numbers = file.selected_frames(scenes, fieldnames, frames)
            by_name = [
                stacks.read_stacks(
                    file, scenes, name, numbers, dim, region or {}, workers=self._workers
                )
                for name in fieldnames
            ]
            return list(zip(*by_name, strict=True))

        return self._read(read)

    @in_sandbox
    def describe_frames(
        self, scenes: Sequence[str], fieldnames: Sequence[str], frame: int
    ) -> list[tuple[FieldRecord, ...]]:
        """Returns, for each scene, fields of one frame without their values.

        In their place are zeros of their shape and dtype, which take no memory.

        Raises:
            H5SceneError: As `read_frames`.
        """

        def describe(file: tree.SceneTree) -> list[tuple[FieldRecord, ...]]:
            (number,) = file.selected_frames(scenes, fieldnames, frame)
            return [
                tuple(
                    file.open_frame(scene, name, number, workers=self._workers).record
                    for name in fieldnames
                )
                for scene in scenes
            ]

        return self._read(describe)

    @in_sandbox
    def read_frame(
        self, scene: str, name: str, frame: int, region: Region | Sequence[Region] | None = None
    ) -> FieldRecord:
        """Returns one field of one frame, or a part of it; raises as `read_frames` does."""
        return self._read(
            lambda file: file.read_field(scene, name, frame, region, workers=self._workers), scene
        )

    @in_sandbox
    def read_values(
        self, scene: str, name: str, frame: int, region: Mapping[str, slice] | None = None
    ) -> Array:
        """Returns the values of one field of one frame as they are stored, or a part of them.

        Only the chunks that the part touches are read from the file. `read_frame` with a region
        gives a part of a field that is a field, this one an array with any step.

        Args:
            scene: Name of the scene.
            name: Name of the field.
            frame: Frame number.
            region: A slice with a positive step by name of the dim. All of the other dims.

        Shapes:
            The axes are those of the stored dims, in their order; a dim in `region` keeps its axis.
            Staggered values are in PhiFlow's padded layout.

        Raises:
            InvalidInputError: The field has no such dim, or a part is no such slice.
            H5SceneError: As `read_frames`.
        """
        return self._read(
            lambda file: file.read_values(scene, name, frame, region or {}, workers=self._workers),
            scene,
        )

    @in_sandbox
    def max_relative_error(self, scene: str, name: str, frame: int) -> float:
        """Returns by how much of their magnitude values were rounded at most; 0 if not at all.

        Raises as `read_frames` does.
        """
        return self._read(lambda file: file.max_relative_error(scene, name, frame), scene)

    def remove_fields(self, scene: str, fieldnames: Iterable[str]) -> None:
        """Removes fields with all their frames: all of them, or none.

        Later writes may use the space again; the file itself does not become smaller.

        Raises:
            SceneNotFoundError: There is no such scene.
            FieldNotFoundError: The scene has no field of one of these names.
        """
        with self._transaction(scene) as file:
            for link in {file.find_field(scene, name) for name in fieldnames}:
                file.remove_field(scene, link)

    def remove_frames(self, scene: str, name: str, frames: Iterable[int]) -> None:
        """Removes frames of a field: all of them, or none. The field stays, even without frames.

        Raises:
            SceneNotFoundError: There is no such scene.
            FieldNotFoundError: The scene has no field of this name.
            FrameNotFoundError: The field is not stored for one of these frames.
            InvalidInputError: A frame is no whole number.
        """
        with self._transaction(scene) as file:
            numbers = {names.whole_number(frame, "a frame") for frame in frames}
            for frame in numbers:
                file.check_frame(scene, name, frame)
            link = file.find_field(scene, name)
            for frame in numbers:
                file.remove_frame(scene, link, frame)
