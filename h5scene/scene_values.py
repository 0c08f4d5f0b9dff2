"""The part of `Scene` that holds what is no field: properties, times and curves."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from phiml import math
from phiml.math import Tensor, batch, channel, spatial

from h5scene.errors import BatchMismatchError
from h5scene.scene_batch import SceneBatch, in_all, merged
from h5scene.scene_properties import SceneProperties, stored_property

if TYPE_CHECKING:
    from collections.abc import Mapping


class SceneValues(SceneBatch):
    """Properties, physical times and scalar curves."""

    # --- time and curves --------------------------------------------------------------------------

    def put_time(self, frame: int, seconds: float | Tensor) -> None:
        """Sets the physical time of a frame. The frame itself need not be stored yet.

        Args:
            frame: Frame index, at least 0.
            seconds: Physical time, in the unit of the simulation, usually seconds. A `Tensor` may
                have dims of this batch.

        Raises:
            InvalidInputError: `frame` is negative or no whole number, or the time is no finite
                number.
            BatchMismatchError: The time has a dim that this batch has not.
        """
        for file, members in self._by_file():
            file.put_times(frame, {m.scene: self._number(seconds, m, "a time") for m in members})

    @property
    def times(self) -> dict[int, Any]:
        """Physical time by frame, where one is known.

        Shapes:
            In a batch, times that differ between the scenes are a `Tensor` with its dims.
        """
        times = self._from_each(lambda file, scene: file.times(scene))
        return {frame: self._combined([known[frame] for known in times]) for frame in in_all(times)}

    def log_scalars(self, step: float, **values: float | Tensor) -> None:
        """Appends one step to scalar curves: to all of them, or to none.

        A curve is created with its first step.

        Args:
            step: Step or frame number of the values.
            **values: Numbers by the name of the curve. A `Tensor` may have dims of this batch, and
                one further dim for curves of several values a step.

        Raises:
            InvalidNameError: A name holds a slash.
            InvalidInputError: A curve has another number of values a step, or a value is no number.
        """
        for file, members in self._by_file():
            file.log_scalars(
                self._number(step, members[0], "a step"),
                {
                    m.scene: {
                        name: self._numbers(value, m, f"curve {name!r}")
                        for name, value in values.items()
                    }
                    for m in members
                },
            )

    @property
    def curves(self) -> dict[str, Tensor]:
        """Scalar curves by name, as `phi.vis.load_scalars` gives them.

        Shapes:
            `(iterationˢ, vectorᶜ=steps,<name>)`, and `batchᵇ` for curves of several values a step.
            In a batch, curves of equal length get the dims of the batch; of curves of unequal
            length the first steps, which all have.
        """
        curves = self._from_each(lambda file, scene: file.curves(scene))
        combined = {}
        for name in in_all(curves):
            length = min(len(curve[name].steps) for curve in curves)
            tensors = []
            for curve in curves:
                values = curve[name].values[:length]
                dims = (
                    [spatial("iteration")]
                    if values.ndim == 1
                    else [spatial("iteration"), batch("batch")]
                )
                steps = math.wrap(curve[name].steps[:length], spatial("iteration"))
                tensors.append(
                    math.stack([steps, math.wrap(values, *dims)], channel(vector=["steps", name]))
                )
            combined[name] = math.stack(tensors, self.shape) if self.is_batch else tensors[0]
        return combined

    # --- properties -------------------------------------------------------------------------------

    def exist_properties(self) -> bool:
        """Whether the scene, or the first one of a batch, has properties."""
        first = self._members[0]
        return bool(self._file(first.file).properties(first.scene))

    def exists_config(self) -> bool:
        """Whether the scene has properties; whether any scene of a batch has."""
        return any(self._from_each(lambda file, scene: bool(file.properties(scene))))

    @property
    def properties(self) -> dict[str, Any]:
        """Properties by name, read from the file at each access.

        Setting, updating and deleting entries of this dict changes the file; changing a list or
        dict *in* it does not. Assigning a dict to `scene.properties` replaces all properties.

        Shapes:
            In a batch, values that are equal in all scenes stay as they are; others become a
            `Tensor` with its dims.

        Raises:
            BatchMismatchError: A property exists in some scenes of a batch but not in all.
        """
        stored = self._from_each(lambda file, scene: file.properties(scene))
        for name in sorted(set().union(*stored)):
            having = sum(name in properties for properties in stored)
            if having != len(stored):
                raise BatchMismatchError(
                    f"property {name!r} exists in {having} of {len(stored)} scenes; "
                    "set it in all, or read the properties one scene at a time"
                )
        return SceneProperties(
            self,
            {
                name: self._combined([properties[name] for properties in stored])
                for name in stored[0]
            },
        )

    @properties.setter
    def properties(self, properties: Mapping[str, Any]) -> None:
        self._put_properties(merged(properties, {}, "properties"), replace=True)

    def put_property(self, key: str, value: Any) -> None:
        """Sets one property; see `put_properties`, which raises the same errors."""
        self._put_properties({key: value})

    def put_properties(self, update: Mapping[str, Any] | None = None, **kw_updates: Any) -> None:
        """Sets properties, all of them or none; other properties stay.

        Args:
            update: Values by name: numbers, strings, booleans, None, lists and dicts of these,
                tensors.
            **kw_updates: Further values; on a name clash these win over `update`.

        Shapes:
            A `Tensor` is sliced along the dims of this batch; what is left without dims is stored
            as a number.

        Raises:
            InvalidInputError: JSON cannot hold a value. Nothing is changed.
            InvalidNameError: A name is no string.
            SceneNotFoundError: The scene does not exist.
        """
        self._put_properties(merged(update or {}, kw_updates, "properties"))

    def _put_properties(self, update: Mapping[str, Any], *, replace: bool = False) -> None:
        for file, members in self._by_file():
            sliced = {
                m.scene: {
                    name: stored_property(name, value, partial(self._sliced, member=m))
                    for name, value in update.items()
                }
                for m in members
            }
            file.put_properties(sliced, replace=replace)

    def remove_property(self, name: str) -> None:
        """Removes one property, where the scene, or scenes of a batch, have it."""
        for file, members in self._by_file():
            file.remove_property([m.scene for m in members], name)
