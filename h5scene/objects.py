"""What PhiFlow makes of several tensors, as named arrays: geometries, sparse and ragged tensors.

An `ObjectRecord` says of which kind it is, and holds its parts by name. It knows nothing of PhiFlow
and HDF5: `phi_fields` has a registry of kinds, `format.objects` stores any of them. Kinds of
tensors, which can be cut and stacked here, are

| kind | attributes | parts |
| --- | --- | --- |
| `ragged` | `tensors`: tree of sizes; `axis` along which they lie | `values`: all of them |
| `stack` | `dim` | `0`, `1`, …: tensors |
| `layout` | `dims`, `sizes`, `containers`, `items`: plain, or null for a part | `0`, `1`, … |
| `coo`, `compressed`, `compact` | of a sparse tensor, see `phi_fields` | `values`, `indices`, … |
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from h5scene.errors import CorruptDataError, FormatError
from h5scene.tensors import (
    Array,
    DimSpec,
    TensorRecord,
    dims_from_json,
    dims_to_json,
    mismatch,
    slice_tensor,
    stack_tensors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

RAGGED = "ragged"
STACK = "stack"
LAYOUT = "layout"
SPARSE = ("coo", "compressed", "compact")
VALUES = "values"

_ENTRIES = DimSpec("entries", "instance")
_DIGEST_BYTES = 20


@dataclass(frozen=True, eq=False)
class ObjectRecord:
    """A named structure of arrays. It owns them: nobody else changes them.

    Attributes:
        kind: What it is.
        attrs: What there is to say of it, as JSON values.
        parts: Its tensors and inner objects by name.
    """

    kind: str
    attrs: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)
    known: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)
    """What was found out about this object. It does not count when objects are compared."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ObjectRecord):
            return NotImplemented
        if self is other:
            return True
        if self.kind != other.kind or self.attrs != other.attrs:
            return False
        return self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def digest(self) -> str:
        """A hash of the content, in hex: equal objects have the same. It is worked out once."""
        if "digest" not in self.known:
            about = json.dumps([self.kind, self.attrs], sort_keys=True)
            parts = sorted(self.part_digests.items())
            self.known["digest"] = _hash(about, json.dumps(parts)).hexdigest()
        digest: str = self.known["digest"]
        return digest

    @property
    def part_digests(self) -> Mapping[str, str]:
        """Digests of the parts by name."""
        if "part_digests" not in self.known:
            self.known["part_digests"] = {
                name: part.digest if isinstance(part, ObjectRecord) else tensor_digest(part)
                for name, part in self.parts.items()
            }
        digests: dict[str, str] = self.known["part_digests"]
        return digests

    @property
    def byte_count(self) -> int:
        """Size of all arrays in memory, in bytes."""
        if "byte_count" not in self.known:
            arrays = (without_repetition(tensor.data) for tensor in tensors_in(self))
            self.known["byte_count"] = sum(array.nbytes for array in arrays)
        count: int = self.known["byte_count"]
        return count


Part: TypeAlias = TensorRecord | ObjectRecord


def without_repetition(array: Array) -> Array:
    """Returns the array with one entry along axes along which it repeats itself without memory."""
    if 0 not in array.strides:
        return array
    return array[tuple(slice(0, 1) if one else slice(None) for one in repetition(array))]


def repetition(array: Array) -> list[bool]:
    """Returns along which axes an array repeats one entry without memory for it."""
    sizes = zip(array.strides, array.shape, strict=True)
    return [stride == 0 and size > 1 and array.size > 0 for stride, size in sizes]


def tensor_digest(tensor: TensorRecord) -> str:
    """Returns a hash of dims, dtype, shape and bits of a tensor, in hex."""
    array = without_repetition(tensor.data)
    about = json.dumps([dims_to_json(tensor.dims), array.dtype.str, tensor.data.shape, array.shape])
    hashed = _hash(about)
    hashed.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    digest: str = hashed.hexdigest()
    return digest


def _hash(*texts: str) -> Any:
    """Returns the hash of some texts, to which more can be added."""
    hashed = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for text in texts:
        data = text.encode(errors="surrogatepass")
        hashed.update(len(data).to_bytes(8, "little") + data)
    return hashed


def tensors_in(part: Part) -> Iterator[TensorRecord]:
    """Gives all tensors in an object."""
    if isinstance(part, TensorRecord):
        yield part
    else:
        for inner in part.parts.values():
            yield from tensors_in(inner)


def is_tensor(part: Part) -> bool:
    """Whether this stands for a tensor, and not for another object that is made of tensors."""
    return isinstance(part, TensorRecord) or part.kind in (RAGGED, STACK, LAYOUT, *SPARSE)


# --- values and their structure -------------------------------------------------------------------


def split_values(part: Part) -> tuple[TensorRecord, ObjectRecord | None]:
    """Returns the numbers of a tensor as one array, and what says how they make up the tensor.

    Tensors that are one array need nothing else. Of a tensor whose numbers have different dtypes
    the array is empty, and all of it is in the structure.
    """
    if isinstance(part, TensorRecord):
        return part, None
    values = part.parts.get(VALUES)
    if not isinstance(values, TensorRecord):
        return TensorRecord((_ENTRIES,), np.zeros(0, np.bool_)), part
    if "structure" not in part.known:
        rest = {name: inner for name, inner in part.parts.items() if name != VALUES}
        part.known["structure"] = ObjectRecord(part.kind, part.attrs, rest)
    return values, part.known["structure"]


def join_values(values: TensorRecord, structure: ObjectRecord | None) -> Part:
    """Returns the tensor that `split_values` took apart."""
    if structure is None:
        return values
    if structure.kind in (STACK, LAYOUT):
        return structure
    joined = ObjectRecord(structure.kind, structure.attrs, {**structure.parts, VALUES: values})
    joined.known["structure"] = structure
    return joined


# --- tensors of different sizes -------------------------------------------------------------------


def stacked_parts(dim: DimSpec, tensors: Sequence[Part]) -> ObjectRecord:
    """Returns tensors of any shapes along a new dim, without a copy for each.

    Dense tensors of one dtype become one array: they lie along the only axis in whose size they
    differ, else flat, one after the other.
    """
    trees = [_tree_and_leaves(tensor) for tensor in tensors]
    leaves = [leaf for found in trees if found is not None for leaf in found[1]]
    dtypes = {leaf.data.dtype for leaf in leaves}
    if not leaves or len(dtypes) != 1 or any(found is None for found in trees):
        parts = {str(i): tensor for i, tensor in enumerate(tensors)}
        return ObjectRecord(STACK, {"dim": dims_to_json((dim,))[0]}, parts)
    tree = {
        "dim": dims_to_json((dim,))[0],
        "tensors": [found[0] for found in trees if found is not None],
    }
    axis = _axis_that_varies(leaves)
    if axis is None:
        dims: tuple[DimSpec, ...] = (_ENTRIES,)
        values = np.concatenate([leaf.data.reshape(-1) for leaf in leaves])
    else:
        first = leaves[0].dims
        plain = DimSpec(first[axis].name, first[axis].type)
        dims = (*first[:axis], plain, *first[axis + 1 :])
        values = np.concatenate([leaf.data for leaf in leaves], axis)
    attrs = {"tensors": tree, "axis": axis}
    return ObjectRecord(RAGGED, attrs, {VALUES: TensorRecord(dims, values)})


def unstacked_parts(record: ObjectRecord) -> tuple[DimSpec, list[Part]]:
    """Returns the dim along which tensors are stacked, and the tensors.

    Raises:
        CorruptDataError: The record is not what `stacked_parts` makes.
    """
    try:
        if record.kind == STACK:
            (dim,) = dims_from_json([record.attrs["dim"]])
            return dim, [record.parts[str(i)] for i in range(len(record.parts))]
        values, tree = record.parts[VALUES], record.attrs["tensors"]
        if not isinstance(values, TensorRecord):
            raise CorruptDataError("the values of ragged tensors are no array")
        axis = record.attrs["axis"]
        (dim,) = dims_from_json([tree["dim"]])
        return dim, _cut(values, tree["tensors"], axis)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CorruptDataError(f"tensors of different sizes do not fit: {error!r}") from error


def _cut(values: TensorRecord, trees: Sequence[Any], axis: int | None) -> list[Part]:
    """Returns the tensors that the trees describe, which take up all of the values."""
    parts: list[Part] = []
    start, along = 0, 0 if axis is None else axis
    for tree in trees:
        length = _length(tree, axis)
        place = (slice(None),) * along + (slice(start, start + length),)
        piece = TensorRecord(values.dims, values.data[place])
        start += length
        if "sizes" in tree:
            dims, sizes = dims_from_json(tree["dims"]), tuple(tree["sizes"])
            if axis is not None and piece.data.shape != sizes:
                raise ValueError(f"{piece.data.shape} are not the sizes {sizes}")
            parts.append(TensorRecord(dims, piece.data.reshape(sizes)))
        else:
            inner = ObjectRecord(RAGGED, {"tensors": tree, "axis": axis}, {VALUES: piece})
            parts.append(stacked_parts(*unstacked_parts(inner)))  # its own axis may be simpler
    if start != values.data.shape[along]:
        raise ValueError(f"they take {start} of {values.data.shape[along]} entries")
    return parts


def _length(tree: Any, axis: int | None) -> int:
    """Returns how many entries along the axis a tensor takes."""
    if "sizes" not in tree:
        return sum(_length(inner, axis) for inner in tree["tensors"])
    sizes = tree["sizes"]
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError(f"{sizes} are no sizes")
    return prod(sizes) if axis is None else int(sizes[axis])


def _tree_and_leaves(tensor: Part) -> tuple[dict[str, Any], list[TensorRecord]] | None:
    """Returns the sizes of a tensor, and the arrays it is made of; None where it is sparse."""
    if isinstance(tensor, TensorRecord):
        sizes = list(map(int, tensor.data.shape))
        return {"dims": dims_to_json(tensor.dims), "sizes": sizes}, [tensor]
    if tensor.kind != RAGGED:
        return None
    dim, inner = unstacked_parts(tensor)
    leaves: list[TensorRecord] = []
    trees = []
    for part in inner:
        found = _tree_and_leaves(part)
        assert found is not None  # what is ragged consists of arrays
        trees.append(found[0])
        leaves += found[1]
    return {"dim": dims_to_json((dim,))[0], "tensors": trees}, leaves


def _axis_that_varies(leaves: Sequence[TensorRecord]) -> int | None:
    """Returns the only axis along which arrays of the same dims differ in size, or in labels."""
    first = leaves[0]
    names = [(dim.name, dim.type) for dim in first.dims]
    if any([(dim.name, dim.type) for dim in leaf.dims] != names for leaf in leaves):
        return None
    shapes = {(leaf.data.shape, leaf.dims) for leaf in leaves}
    varying = [
        axis
        for axis in range(len(names))
        if any((s[axis], d[axis]) != (first.data.shape[axis], first.dims[axis]) for s, d in shapes)
    ]
    if len(varying) == 1:
        return varying[0]
    return 0 if names and not varying and first.dims[0].labels is None else None


# --- dims, slices, stacks -------------------------------------------------------------------------


def note_dims(part: Part, found: dict[str, tuple[DimSpec, int]]) -> None:
    """Adds the batch dims of all tensors in an object to those found already."""
    if isinstance(part, TensorRecord):
        for dim, size in zip(part.dims, part.data.shape, strict=True):
            if dim.type == "batch":
                found.setdefault(dim.name, (dim, size))
        return
    if part.kind in (RAGGED, STACK):
        dim, tensors = unstacked_parts(part)
        if dim.type == "batch":
            found.setdefault(dim.name, (dim, len(tensors)))
        for tensor in tensors:
            note_dims(tensor, found)
        return
    if part.kind == LAYOUT:
        for dim, size in zip(*layout_dims(part), strict=True):
            if dim.type == "batch":
                found.setdefault(dim.name, (dim, size))
    for inner in part.parts.values():
        note_dims(inner, found)


def slice_part(part: Part, index: Mapping[str, int]) -> Part:
    """Returns one slice along batch dims; the object itself where it has none of them.

    Slices of an object are the same objects each time, so that what is known of them lasts.
    """
    if isinstance(part, TensorRecord):
        return slice_tensor(part, index)
    found: dict[str, tuple[DimSpec, int]] = {}
    note_dims(part, found)
    index = {name: i for name, i in index.items() if name in found}
    if not index:
        return part
    key = ("slice", tuple(sorted(index.items())))
    if key not in part.known:
        part.known[key] = _slice_object(part, index)
    sliced: Part = part.known[key]
    return sliced


def _slice_object(part: ObjectRecord, index: Mapping[str, int]) -> Part:
    """Returns a slice of an object that has all of these dims somewhere."""
    if part.kind in (RAGGED, STACK):
        dim, tensors = unstacked_parts(part)
        if dim.type == "batch" and dim.name in index:
            return slice_part(tensors[index[dim.name]], index)
        return stacked_parts(dim, [slice_part(tensor, index) for tensor in tensors])
    attrs, parts = part.attrs, part.parts
    if part.kind == LAYOUT:
        attrs, parts = _slice_layout(part, index)
    return ObjectRecord(
        part.kind, attrs, {name: slice_part(inner, index) for name, inner in parts.items()}
    )


def stack_parts(parts: Sequence[Part], dim: DimSpec, what: str) -> Part:
    """Returns the one object that all are, or one whose differing tensors have the dim.

    Raises:
        BatchMismatchError: They are objects of different kinds.
    """
    first = parts[0]
    if all(part is first for part in parts[1:]) or all(_is_same(part, first) for part in parts[1:]):
        return first
    tensors = [part for part in parts if isinstance(part, TensorRecord)]
    if len(tensors) == len(parts):
        sizes = {_named_sizes(tensor) for tensor in tensors}
        if len(sizes) == 1:
            return stack_tensors(tensors, dim, what)
        if _has_same_sizes(tensors):
            return stack_tensors(tensors, dim, what)
    if all(is_tensor(part) for part in parts):
        return stacked_parts(dim, parts)
    objects = [part for part in parts if isinstance(part, ObjectRecord)]
    forms = {(part.kind, json.dumps(part.attrs, sort_keys=True), *part.parts) for part in objects}
    if len(objects) != len(parts) or len(forms) != 1:
        raise mismatch(f"{what} of different kinds", dim)
    stacked = {
        name: stack_parts([part.parts[name] for part in objects], dim, f"{what}, {name}")
        for name in objects[0].parts
    }
    return ObjectRecord(objects[0].kind, objects[0].attrs, stacked)


def _is_same(a: Part, b: Part) -> bool:
    """Whether two objects are equal. What was hashed already is not compared."""
    if isinstance(a, ObjectRecord) and isinstance(b, ObjectRecord):
        return a.digest == b.digest
    return a == b


def _named_sizes(tensor: TensorRecord) -> frozenset[tuple[str, int]]:
    """Returns names and sizes of the dims of a tensor."""
    return frozenset(zip((dim.name for dim in tensor.dims), tensor.data.shape, strict=True))


def _has_same_sizes(tensors: Sequence[TensorRecord]) -> bool:
    """Whether dims that several of the tensors have are of the same size."""
    sizes: dict[str, int] = {}
    return all(
        sizes.setdefault(name, size) == size
        for tensor in tensors
        for name, size in sorted(_named_sizes(tensor))
    )


# --- layouts --------------------------------------------------------------------------------------


def layout_record(
    dims: Sequence[DimSpec], sizes: Sequence[int], items: Sequence[Any], containers: Sequence[str]
) -> ObjectRecord:
    """Returns an array of Python values and objects, given with the last dim varying fastest.

    Along each dim, these are in a `list` or a `tuple` in Python.
    """
    parts = {str(i): item for i, item in enumerate(items) if isinstance(item, Part)}
    plain = [None if isinstance(item, Part) else item for item in items]
    attrs = {
        "dims": dims_to_json(dims),
        "sizes": list(map(int, sizes)),
        "items": plain,
        "containers": list(containers),
    }
    return ObjectRecord(LAYOUT, attrs, parts)


def layout_dims(record: ObjectRecord) -> tuple[tuple[DimSpec, ...], tuple[int, ...]]:
    """Returns dims and sizes of a layout.

    Raises:
        CorruptDataError: The record is no layout.
    """
    try:
        dims, sizes = dims_from_json(record.attrs["dims"]), tuple(record.attrs["sizes"])
        fits = len(dims) == len(sizes) == len(record.attrs["containers"])
        fits = fits and all(type(size) is int and size >= 0 for size in sizes)
        if not fits or prod(sizes) != len(record.attrs["items"]):
            raise CorruptDataError(f"a layout of the sizes {sizes} has other items")
    except (KeyError, TypeError, FormatError) as error:
        raise CorruptDataError(f"a layout lacks its dims: {error!r}") from error
    return dims, sizes


def layout_items(record: ObjectRecord, convert: Callable[[Part], Any]) -> list[Any]:
    """Returns the items of a layout, its parts converted."""
    layout_dims(record)
    return [
        convert(record.parts[str(i)]) if str(i) in record.parts else item
        for i, item in enumerate(record.attrs["items"])
    ]


def _slice_layout(
    record: ObjectRecord, index: Mapping[str, int]
) -> tuple[Mapping[str, Any], Mapping[str, Part]]:
    """Returns attributes and parts of a slice along those of the dims that the layout has."""
    dims, sizes = layout_dims(record)
    numbers = np.arange(prod(sizes)).reshape(sizes)
    place = tuple(
        index[dim.name] if dim.type == "batch" and dim.name in index else slice(None)
        for dim in dims
    )
    kept = tuple(dim for dim, at in zip(dims, place, strict=True) if isinstance(at, slice))
    chosen = numbers[place]
    items = layout_items(record, lambda part: part)
    containers = [
        container
        for container, at in zip(record.attrs["containers"], place, strict=True)
        if isinstance(at, slice)
    ]
    chosen_items = [items[i] for i in chosen.reshape(-1)]
    sliced = layout_record(kept, chosen.shape, chosen_items, containers)
    return sliced.attrs, sliced.parts
