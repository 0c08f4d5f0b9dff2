"""The new file that gets what was saved of a damaged one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from h5scene.errors import CorruptDataError
from h5scene.format import attached_files, codec, layout, names, plain_arrays, properties, tables
from h5scene.format.tree import SceneTree

if TYPE_CHECKING:
    from collections.abc import Sequence

    import h5py

    from h5scene.format.filters import Compression
    from h5scene.record import Array, FieldRecord


class Writer:
    """The new file, which gets what was saved.

    Args:
        h5: It, open.
        path: Its name, for messages.
        compression: How hard to compress.
        workers: Number of threads.
    """

    def __init__(self, h5: h5py.Group, path: str, compression: Compression, workers: int):
        self._h5 = h5
        self._tree = SceneTree(h5, {}, path)
        self._compression = compression
        self._workers = workers

    def scene(self, scene: str) -> h5py.Group:
        """Returns a scene, which is created when there is none."""
        if not self._tree.has_scene(scene):
            names.scene_link(scene)
            self._tree.create_scene(scene)
        return self._h5[scene]

    def frame(self, scene: str, name: str, number: int, record: FieldRecord, error: float) -> None:
        """Writes a frame that was rounded by as much."""
        self.scene(scene)
        plan = self._tree.plan_frame(scene, name, number, record)
        self._tree.write_frame(plan, self._compression, workers=self._workers)
        if error:
            path = f"{scene}/{names.field_link(name)}/{names.frame_link(number)}"
            codec.values_of(self._h5[path]).attrs[layout.MAX_RELATIVE_ERROR_ATTR] = error

    def property(self, scene: str, name: str, value: Any) -> None:
        """Writes a property."""
        texts = properties.property_texts({name: value})
        properties.write_properties(self.scene(scene), texts, replace=False)

    def times(self, scene: str, rows: Array) -> None:
        """Writes the times of frames."""
        self._table(self.scene(scene), layout.TIMES_DATASET, layout.TIME_COLUMNS, rows)

    def curve(self, scene: str, name: str, rows: Array) -> None:
        """Writes a curve."""
        names.curve_link(name)
        group = self.scene(scene).require_group(layout.CURVES_GROUP)
        self._table(group, name, names.curve_columns(name, rows.shape[1] - 1), rows)

    def _table(self, group: h5py.Group, name: str, columns: Sequence[str], rows: Array) -> None:
        """Writes a table, if it has the columns that it must have."""
        if rows.shape[1] != len(columns):
            raise CorruptDataError(f"it has {rows.shape[1]} columns, not {len(columns)}")
        tables.write_table(group, name, columns, rows)

    def attachment(self, scene: str, name: str, content: bytes, mode: int | None) -> None:
        """Writes an attached file."""
        names.attached_file_link(name)
        group = self.scene(scene)
        attached_files.write_bytes(group.require_group(layout.FILES_GROUP), name, content)
        if mode is not None:
            attached_files.set_mode(group, name, mode)

    def arrays(self, scene: str, name: str, found: dict[str, Array]) -> None:
        """Writes arrays that are no fields."""
        plain_arrays.write_arrays(
            self.scene(scene), name, found, self._compression, workers=self._workers
        )
