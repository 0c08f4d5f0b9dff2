"""HDF5 objects copied and compared, whoever made them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene.errors import CorruptDataError, UnsupportedFieldError
from h5scene.handling.hdf5_trees import (
    Packing,
    TreeCopy,
    check_same,
    copy_attributes,
    slabs,
    stored_bytes_below,
)
from tests.records import content


def foreign(file: h5py.File) -> None:
    """Writes one of everything that HDF5 has."""
    group = file.create_group("g")
    group["numbers"] = np.arange(2000.0)
    group.create_dataset("packed", data=np.arange(4000).reshape(40, 100), chunks=(7, 9),
                         compression="gzip", shuffle=True, fletcher32=True)  # fmt: skip
    group["big_endian"] = np.arange(500, dtype=">f8")
    group["texts"] = np.array(["a", "ö"], h5py.string_dtype())
    group["text"] = "one"
    group["record"] = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
    group["complex"] = np.full(300, 1 + 2j)
    group["flags"] = np.zeros(2000, bool)
    group["nan"] = np.array([np.nan, -0.0, np.inf])
    group["empty"] = np.empty((0, 3))
    group["nothing"] = h5py.Empty("f4")
    group.create_dataset("growing", shape=(3, 2), maxshape=(None, 2), dtype="f8", chunks=(512, 2))
    group["opaque"] = np.void(b"bytes")
    group["type"] = np.dtype("f8")
    group.create_group("inner/deeper")
    group["again"] = group["numbers"]
    group["inner/again"] = group["numbers"]
    group["soft"] = h5py.SoftLink("/g/numbers")
    group["dangling"] = h5py.SoftLink("/none")
    group["external"] = h5py.ExternalLink("other.h5", "/x")
    group.create_group("ordered", track_order=True)["b"] = 1
    for owner in (group, group["numbers"], file):
        owner.attrs["text"] = "ü"
        owner.attrs["fixed"] = np.bytes_(b"abc")
        owner.attrs["numbers"] = np.arange(3, dtype=">i2")
        owner.attrs["texts"] = np.array(["a", "b"], h5py.string_dtype())
        owner.attrs["opaque"] = np.void(b"abc")
        owner.attrs["nothing"] = h5py.Empty("i4")
        owner.attrs["flag"] = True


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        foreign(file)
    return path


def copied(source: Path, packing: Packing | None = None) -> Path:
    target = source.with_name("b.h5")
    copy = TreeCopy(packing=packing)
    with h5py.File(source) as old, h5py.File(target, "w", libver=("v108", "v110")) as new:
        copy_attributes(old.id, new.id)
        copy.copy_member(old, b"g", new, b"g")
        copy.copy_values()
    return target


@pytest.mark.parametrize("packing", [None, Packing("small", 2), Packing(None, 1)], ids=str)
def test_everything_is_copied(source: Path, packing: Packing | None) -> None:
    target = copied(source, packing)
    with h5py.File(source) as old, h5py.File(target) as new:
        check_same(old, new, workers=2)
        assert new["g/again"] == new["g/numbers"] == new["g/inner/again"]  # one object
        assert new["g"].get("soft", getlink=True).path == "/g/numbers"
        assert new["g"].get("external", getlink=True).filename == "other.h5"
        assert new["g/growing"].maxshape == (None, 2)
        assert new["g/packed"].chunks == ((7, 9) if packing is None else new["g/packed"].chunks)
        assert new["g/ordered"].id.get_create_plist().get_link_creation_order() != 0
        for name in ("numbers", "packed", "complex", "flags", "texts", "big_endian"):
            assert old["g"][name][()].tolist() == new["g"][name][()].tolist()


def test_many_members_are_copied(tmp_path: Path) -> None:
    """HDF5's own property list of such a group leads into the other file."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=("v108", "v110")) as file:
        group = file.create_group("g")
        for i in range(300):
            group[f"{i:06d}"] = np.full(10, i)
    target = copied(path)
    with h5py.File(path) as old, h5py.File(target) as new:
        check_same(old, new)
        assert len(new["g"]) == 300
        assert stored_bytes_below(new) == (301, 300 * 80)
    assert content(path) == content(target)


def test_what_would_lead_nowhere_is_refused(source: Path) -> None:
    with h5py.File(source, "r+") as file:
        file["g/reference"] = file["g/numbers"].ref
    with pytest.raises(UnsupportedFieldError, match="g/reference holds HDF5 references"):
        copied(source)
    with h5py.File(source, "r+") as file:
        del file["g/reference"]
        file["g"].attrs["lists"] = np.array([np.arange(2), np.arange(3)], h5py.vlen_dtype("i4"))
    with pytest.raises(UnsupportedFieldError, match="variable length"):
        copied(source)


def change_value(file: Any) -> None:
    file["g/numbers"][3] = 7.5


def change_packed_value(file: Any) -> None:
    file["g/packed"][39, 99] = 1


def change_nan(file: Any) -> None:
    file["g/nan"][1] = 0.0


def change_attribute(file: Any) -> None:
    file["g/numbers"].attrs["text"] = "u"


def change_type_of_attribute(file: Any) -> None:
    file["g"].attrs["flag"] = 1


def add_attribute(file: Any) -> None:
    file["g"].attrs["more"] = 1


def remove_member(file: Any) -> None:
    del file["g/inner/deeper"]


def add_member(file: Any) -> None:
    file["g/more"] = 1


def change_link(file: Any) -> None:
    del file["g/soft"]
    file["g/soft"] = h5py.SoftLink("/g")


def change_kind_of_link(file: Any) -> None:
    del file["g/soft"]
    file["g/soft"] = 1


def change_kind_of_object(file: Any) -> None:
    del file["g/text"]
    file.create_group("g/text")


def change_dtype(file: Any) -> None:
    values = file["g/numbers"][()]
    del file["g/complex"]
    file["g/complex"] = values


def change_text(file: Any) -> None:
    file["g/texts"][0] = "b"


def change_record(file: Any) -> None:
    file["g/record"][0] = (1, 3.0)


CHANGES = [value for name, value in list(globals().items()) if name.startswith(
    ("change_", "add_", "remove_"))]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_difference_is_found(source: Path, change: Callable[[Any], None]) -> None:
    target = copied(source)
    with h5py.File(target, "r+") as file:
        change(file)
    with (
        h5py.File(source) as old,
        h5py.File(target) as new,
        pytest.raises(CorruptDataError, match="the copy of /"),
    ):
        check_same(old, new)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (1, 1, 7)])
@pytest.mark.parametrize("limit", [1, 8, 24, 1000])
def test_slabs_cover_an_array_once(shape: tuple[int, ...], limit: int) -> None:
    seen = np.zeros(shape, int)
    for region in slabs(shape, 1, limit):
        seen[region] += 1
        assert seen[region].size <= max(limit, 1)
    assert (seen == 1).all()
