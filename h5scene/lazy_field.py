"""A field over many frames that is read when somebody needs its numbers."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from phiml.math.magic import BoundDim

from h5scene.errors import InvalidInputError, UnsupportedFieldError
from h5scene.format.frame_selections import is_one_frame
from h5scene.phi_fields import field_from_record, region_from_selection
from h5scene.record import TENSOR
from h5scene.regions import Region, entries, part_of
from h5scene.tensors import outlined

if TYPE_CHECKING:
    from phi.field import Field
    from phi.geom import Box, Geometry
    from phiml.math import Shape
    from typing_extensions import Self

    from h5scene.record import Array, DimSpec, FieldRecord
    from h5scene.scene_batch import SceneBatch


class LazyField:
    """A field of a scene, or of a batch, at one frame or many, whose values are still in the file.

    It knows all but its values, and is sliced like a field: by the names of its dims, as in
    `lazy.frame[3].x[0:16]`, with a dict or with a `Box`, step by step. `load` reads what is left,
    and so does `numpy.asarray`. `Scene.lazy` makes one.

    It says what stood in the file when it was made; geometry and boundary are those of the first
    frame. It can be pickled, without values, and read in another process.
    """

    def __init__(
        self,
        scene: SceneBatch,
        name: str,
        frames: int | tuple[int, ...],
        outline: FieldRecord,
        frame_dim: DimSpec,
    ):
        self._scene = scene
        self._name = name
        self._frames = frames
        self._frame_dim = frame_dim
        self._regions: tuple[Region, ...] = ()
        self._sizes: tuple[int, ...] = outline.values.shape
        self._dtype: np.dtype[Any] = outline.values.dtype
        # Without the zeros that stand for values, which would take their memory in a pickle.
        self._kind: FieldRecord = replace(outline, values=np.zeros(0, self._dtype))

    # --- what it is -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the field."""
        return self._name

    @property
    def frames(self) -> tuple[int, ...]:
        """Numbers of its frames."""
        return (self._frames,) if isinstance(self._frames, int) else self._frames

    @property
    def shape(self) -> Shape:
        """Shape of the field, as `load().shape`."""
        return self._outline.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the values."""
        return self._dtype

    @property
    def nbytes(self) -> int:
        """Size of the values in memory, in bytes; of staggered grids with their padding."""
        return int(np.prod(self._sizes, dtype=object)) * self._dtype.itemsize

    @property
    def geometry(self) -> Geometry:
        """Geometry of the field, such as a `UniformGrid`."""
        return self._field.geometry

    @property
    def resolution(self) -> Shape:
        """Number of cells of a grid along each axis."""
        return self._field.resolution

    @property
    def bounds(self) -> Box:
        """Bounds of a grid."""
        return self._field.bounds

    @property
    def boundary(self) -> Any:
        """What lies outside, a boundary condition of PhiFlow."""
        return self._field.boundary

    @property
    def is_staggered(self) -> bool:
        """Whether the values are at the faces of a grid."""
        return bool(self._field.is_staggered)

    @property
    def _field(self) -> Field:
        """The outline, if it is a field."""
        if self._kind.description.field_type == TENSOR:
            raise UnsupportedFieldError(f"{self._name!r} is a tensor, and has no geometry")
        return self._outline

    @cached_property
    def _outline(self) -> Any:
        """The field with zeros that take no memory as its values."""
        return field_from_record(self._outline_record, convert_to_backend=False)

    @property
    def _outline_record(self) -> FieldRecord:
        """What the outline is made of."""
        return replace(self._kind, values=outlined(self._sizes, self._dtype))

    # --- slices -----------------------------------------------------------------------------------

    def __getitem__(self, item: Any) -> Self:
        region = region_from_selection(item)
        part = part_of(self._outline_record, region)
        sliced = self._copy()
        inner = dict(region)
        scene_dims = {dim: inner.pop(dim) for dim in list(inner) if dim in self._scene.shape}
        if scene_dims:
            sliced._scene = self._scene[scene_dims]
        frame_dim = self._frame_dim
        if frame_dim.name in inner and not isinstance(self._frames, int):
            labelled = replace(frame_dim, labels=tuple(map(str, self._frames)))
            taken = entries(
                inner.pop(frame_dim.name), labelled, len(self._frames), has_positions=False
            )
            if isinstance(taken, int):
                sliced._frames = self._frames[taken]
            else:
                sliced._frames = tuple(self._frames[i] for i in taken)
        if inner:
            sliced._regions = (*self._regions, inner)
        sliced._sizes = part.shape
        sliced._kind = part.record(self._kind.values)
        return sliced

    def __getattr__(self, name: str) -> BoundDim:
        # While it is unpickled there is nothing yet.
        if "_kind" not in self.__dict__ or name.startswith("_") or hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        if name not in self.shape:
            raise AttributeError(f"{self!r} has no dim or attribute {name!r}")
        return BoundDim(self, name)

    def _copy(self) -> Self:
        """Returns the same field again, to be changed."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__getstate__())
        return copy

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_outline"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    # --- values -----------------------------------------------------------------------------------

    def load(self, *, convert_to_backend: bool = True) -> Field:
        """Returns the field with its values, from one state of the file.

        Only the chunks that it touches are read.

        Args:
            convert_to_backend: Whether the values become tensors of PhiML's default backend; NumPy
                else.

        Raises:
            H5SceneError: As `Scene.read`.
        """
        return field_from_record(self._record(), convert_to_backend=convert_to_backend)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Returns the values, read now; the axes are in the order of the stored dims.

        Those of the scenes and frames stand in front. Staggered values are in PhiFlow's padded
        layout.
        """
        if copy is False:
            raise ValueError("the values are in a file; NumPy cannot have them without a copy")
        values = self._record().values
        return values if dtype is None else values.astype(dtype, copy=False)

    def _record(self) -> FieldRecord:
        """Returns what `load` makes a field of."""
        (record,) = self._scene._read_records(
            [self._name], self._frames, self._regions, self._frame_dim
        )
        return record

    def __repr__(self) -> str:
        kind = self._kind.description.field_type
        return (
            f"LazyField({self._name!r} of {self._scene}: {kind} {self.shape} of {self._dtype}, "
            f"{self.nbytes:,} bytes not read)"
        )


def lazy_field(scene: SceneBatch, name: str, frames: Any, dim: DimSpec) -> LazyField:
    """Returns a field of these scenes whose values are not read.

    Raises:
        H5SceneError: As `Scene.read`.
    """
    if not isinstance(name, str):
        raise InvalidInputError(f"a lazy field is one field, by its name, not {name!r}")
    numbers = scene._selected_frames([name], frames)
    is_one = is_one_frame(frames)
    numbered = replace(dim, labels=tuple(map(str, numbers)))
    outline = scene._outline(name, numbers[0], (numbered, 0 if is_one else len(numbers)))
    if outline.structure is not None:
        raise UnsupportedFieldError(
            f"the values of {name!r} are sparse, or of different sizes: read them as they are"
        )
    return LazyField(scene, name, numbers[0] if is_one else numbers, outline, dim)
