"""The part of `SceneFile` that holds what is no field: properties, times and curves."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.errors import CorruptDataError, InvalidInputError
from h5scene.format import layout, names, properties, tables
from h5scene.format.groups import text_names
from h5scene.open_file import OpenFile, in_sandbox
from h5scene.sandbox import carried

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import h5py

    from h5scene.format import tree
    from h5scene.record import Array


@carried(steps=np.ndarray, values=np.ndarray)
@dataclass(frozen=True)
class Curve:
    """A scalar over steps.

    Attributes:
        steps: Step of each entry, of shape `(n,)`.
        values: Value at each step, of shape `(n,)`; `(n, k)` for curves of `k` values a step.
    """

    steps: Array
    values: Array


class FileValues(OpenFile):
    """Properties, physical times and scalar curves of the scenes of a file."""

    # --- properties -------------------------------------------------------------------------------

    @in_sandbox
    def properties(self, scene: str) -> dict[str, Any]:
        """Returns the properties of the scene, sorted by name; tensors in them are `TensorRecord`.

        Raises:
            SceneNotFoundError: There is no such scene.
            CorruptDataError: A property is not what the file format says.
        """
        return self._read(lambda file: properties.read_properties(file.scene(scene)), scene)

    def put_properties(
        self, updates: Mapping[str, Mapping[str, Any]], *, replace: bool = False
    ) -> None:
        """Sets properties, given by scene and name: all of them, or none.

        Other properties stay as they are, or are removed with `replace`.

        Raises:
            InvalidNameError: A name is no string, or `__kind__`.
            InvalidInputError: JSON cannot hold a value.
            SceneNotFoundError: There is no such scene.
        """
        texts = {}
        for scene, update in updates.items():
            with self._located(scene):
                texts[scene] = properties.property_texts(update)
        with self._transaction() as file:
            groups = {scene: file.scene(scene) for scene in texts}
            self._check_properties(groups)
            for scene, group in groups.items():
                properties.write_properties(group, texts[scene], replace=replace)

    def remove_property(self, scenes: Iterable[str], name: str) -> None:
        """Removes one property from these scenes, where they have it.

        Raises:
            SceneNotFoundError: There is no such scene.
        """
        with self._transaction() as file:
            groups = {scene: file.scene(scene) for scene in scenes}
            self._check_properties(groups)
            for group in groups.values():
                properties.remove_property(group, name)

    def _check_properties(self, groups: Mapping[str, h5py.Group]) -> None:
        """Raises CorruptDataError where the stored properties of a scene cannot be changed."""
        for scene, group in groups.items():
            with self._located(scene):
                properties.check_properties(group)

    # --- times and curves -------------------------------------------------------------------------

    @in_sandbox
    def times(self, scene: str) -> dict[int, float]:
        """Returns the physical time of each frame that has one, by frame.

        Raises:
            SceneNotFoundError: There is no such scene.
            CorruptDataError: What is stored are no times of frames.
        """
        rows = self._read(
            lambda file: tables.read_table(file.scene(scene), layout.TIMES_DATASET), scene
        )
        is_right = rows.shape[1] == 2 or not rows.size
        frames = rows[:, :1]
        if not is_right or not (np.isfinite(frames).all() and (frames == np.floor(frames)).all()):
            raise CorruptDataError(
                f"{scene}/{layout.TIMES_DATASET} has rows that are no frame and its time",
                file=self._path,
                location=f"{scene}/{layout.TIMES_DATASET}",
            )
        return {int(frame): float(time) for frame, time in sorted(rows.tolist())}

    def put_times(self, frame: int, times: Mapping[str, float]) -> None:
        """Sets the physical time of a frame, given by scene. The frame need not be stored yet.

        Raises:
            InvalidInputError: `frame` is negative or no whole number, or a time is no finite
                number.
            SceneNotFoundError: There is no such scene.
        """
        with self._located(None):
            number = int(names.frame_link(frame))
            if number > layout.MAX_TIMED_FRAME:
                raise InvalidInputError(
                    f"frame {number} cannot have a time; frames up to {layout.MAX_TIMED_FRAME} can"
                )
        rows = {}
        for scene, time in times.items():
            with self._located(scene):
                rows[scene] = (number, _number(time, f"the time of frame {number}"))
                if not isfinite(rows[scene][1]):
                    raise InvalidInputError(
                        f"the time of frame {number} must be finite, not {time!r}"
                    )

        def put(file: tree.SceneTree) -> None:
            groups = {scene: file.scene(scene) for scene in rows}
            for scene, group in groups.items():  # all that can be refused, before any change
                if layout.TIMES_DATASET in group:
                    with self._located(scene):
                        tables.check_table(group[layout.TIMES_DATASET])
            for scene, row in rows.items():
                tables.put_row(groups[scene], layout.TIMES_DATASET, layout.TIME_COLUMNS, row)

        self._change(put)

    @in_sandbox
    def curves(self, scene: str) -> dict[str, Curve]:
        """Returns the scalar curves of the scene, sorted by name.

        Raises:
            SceneNotFoundError: There is no such scene.
        """

        def read(file: tree.SceneTree) -> dict[str, Array]:
            group = file.scene(scene).get(layout.CURVES_GROUP)
            return {
                name: tables.read_table(group, name) for name in sorted(text_names(group or ()))
            }

        return {
            name: Curve(rows[:, 0], rows[:, 1] if rows.shape[1] == 2 else rows[:, 1:])
            for name, rows in self._read(read, scene).items()
        }

    def log_scalars(self, step: float, rows: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
        """Appends one step to curves, given by scene and name: to all of them, or to none.

        Raises:
            InvalidNameError: A name is empty or holds a slash.
            InvalidInputError: A curve has another number of values a step, or one of them or the
                step is no number.
            SceneNotFoundError: There is no such scene.
        """
        with self._located(None):
            step = _number(step, "a step")
        numbers: dict[str, dict[str, tuple[float, ...]]] = {}
        for scene, values in rows.items():
            with self._located(scene):
                for name in values:
                    names.curve_link(name)
                numbers[scene] = {
                    name: tuple(_number(value, f"curve {name!r}") for value in row)
                    for name, row in values.items()
                }

        def log(file: tree.SceneTree) -> None:
            for scene, values in numbers.items():
                group = file.scene(scene).get(layout.CURVES_GROUP, {})
                for name, row in values.items():
                    stored = group.get(name)
                    if stored is not None:
                        with self._located(scene):
                            tables.check_table(stored)
                    if stored is not None and stored.shape[1:] != (1 + len(row),):
                        raise InvalidInputError(
                            f"curve {name!r} of {file.where(scene)} has {stored.shape[1] - 1} "
                            f"values a step, not {len(row)}; log it under another name",
                            location=f"/{scene}",
                        )
            for scene, values in numbers.items():
                group = file.scene(scene).require_group(layout.CURVES_GROUP)
                for name, row in values.items():
                    columns = names.curve_columns(name, len(row))
                    tables.append_row(group, name, columns, (step, *row))

        self._change(log)


def _number(value: Any, what: str) -> float:
    """Returns the number that a value is.

    Raises:
        InvalidInputError: It is none. NumPy would take text for a number, and `None` for NaN.
    """
    try:
        if not isinstance(value, (str, bytes)):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidInputError(f"{what} must be a number, not {type(value).__name__} {value!r}")
