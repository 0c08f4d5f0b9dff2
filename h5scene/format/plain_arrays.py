"""Arrays that are no fields: numbers from npz files that say nothing about a grid.

Each member of the scene's group of arrays is a group with one dataset for each array, and their
names in order as JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.errors import CorruptDataError, FormatError
from h5scene.format import layout
from h5scene.format.chunks import write_array
from h5scene.format.codec import check_dtype, read_values
from h5scene.format.groups import put_json, read_attribute, text_names
from h5scene.format.json_values import dump_json, load_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from h5scene.format.filters import Compression
    from h5scene.record import Array


def array_names(scene: h5py.Group) -> tuple[str, ...]:
    """Returns the names of all groups of arrays of a scene, sorted."""
    return tuple(sorted(text_names(scene.get(layout.ARRAYS_GROUP) or ())))


def write_arrays(
    scene: h5py.Group,
    name: str,
    arrays: Mapping[str, Array],
    compression: Compression,
    *,
    workers: int = 1,
) -> None:
    """Stores arrays by their names, in place of those that had the name of the group.

    Raises:
        UnsupportedFieldError: One of them holds no numbers.
    """
    for member, array in arrays.items():
        check_dtype(array.dtype, f"array {member!r} of {name!r}")
    groups = scene.require_group(layout.ARRAYS_GROUP)
    if name in groups:
        del groups[name]
    group = groups.create_group(name)
    described = []
    for i, (member, array) in enumerate(arrays.items()):
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        write_array(group, str(i), native, compression, workers=workers)
        is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        order = "F" if is_fortran else "C"
        described.append({"name": member, "dtype": array.dtype.str, "order": order})
    put_json(group, layout.MEMBERS_ATTR, dump_json(described, layout.MEMBERS_ATTR))


def read_arrays(scene: h5py.Group, name: str, *, workers: int = 1) -> dict[str, Array]:
    """Returns the arrays that `write_arrays` stored.

    Raises:
        CorruptDataError: They are not what FORMAT.md says.
    """
    group = scene[layout.ARRAYS_GROUP][name]
    try:
        described: Any = load_json(read_attribute(group, layout.MEMBERS_ATTR))
        arrays = {}
        for i, member in enumerate(described):
            dataset = group.get(str(i))
            if not isinstance(dataset, h5py.Dataset):
                raise CorruptDataError(f"{group.name} has no array {i}")
            array = read_values(dataset, workers=workers)
            dtype = np.dtype(str(member["dtype"]))
            if dtype.newbyteorder("=") != array.dtype:
                raise CorruptDataError(f"{dataset.name} is {array.dtype}, and not {dtype}")
            array = array.astype(dtype, copy=False)
            is_fortran = member["order"] == "F"
            arrays[str(member["name"])] = np.asfortranarray(array) if is_fortran else array
        return arrays
    except FormatError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptDataError(f"{group.name} is not what the file format says: {error}") from error
