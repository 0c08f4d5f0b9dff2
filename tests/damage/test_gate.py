"""Files from strangers: each attack works on plain h5py, and fails cleanly against h5scene."""

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene import SceneFile
from h5scene.errors import (
    CorruptDataError,
    FormatError,
    H5SceneError,
    InvalidInputError,
    UnsafeFileError,
)
from h5scene.format.json_values import load_json
from h5scene.handling.summaries import summarize_scenes
from h5scene.interop.scene_directories import export_scenes
from h5scene.store import open_store
from h5scene.store.gate import SafeFile
from h5scene.store.links import members
from tests.records import centered

S = "sim_000000"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A scene file with two fields of two frames, a curve, times, and an attached file."""
    place = tmp_path / "shared.h5"
    with SceneFile(place) as file:
        file.create_scene(S)
        for frame in range(2):
            file.write_frame(frame, {S: {"smoke": centered(float(frame)), "heat": centered(3.0)}})
        file.put_properties({S: {"dt": 0.5}})
        file.put_times(0, {S: 0.25})
        file.log_scalars(0, {S: {"loss": [1.0]}})
        file.write_files({S: {"src/plume.py": b"print()"}})
    return place


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the victim, which no shared file may show."""
    place = tmp_path / "secret.h5"
    with h5py.File(place, "w") as file:
        group = file.create_group("scene")
        group.attrs["kind"] = "scene"
        group["numbers"] = np.full((4, 4), 42.0, np.float32)
    return place


def replaced(h5: h5py.File, put: Callable[[h5py.Group, str], Any]) -> None:
    """Puts something in the place of frame 1 of the smoke."""
    del h5[S]["smoke"]["000001"]
    put(h5[S]["smoke"], "000001")


def external_link(h5: h5py.File, secret: Path) -> None:
    replaced(h5, lambda field, name: field.__setitem__(name, link_to(secret, "/scene/numbers")))


def link_to(secret: Path, inside: str) -> Any:
    return h5py.ExternalLink(str(secret), inside)


def external_link_to_a_pipe(h5: h5py.File, secret: Path) -> None:
    pipe = secret.parent / "pipe.h5"
    os.mkfifo(pipe)
    replaced(h5, lambda field, name: field.__setitem__(name, link_to(pipe, "/x")))


def soft_link_through_an_external_one(h5: h5py.File, secret: Path) -> None:
    h5["outside"] = link_to(secret, "/")
    soft = h5py.SoftLink("/outside/scene/numbers")
    replaced(h5, lambda field, name: field.__setitem__(name, soft))


def soft_link_to_itself(h5: h5py.File, secret: Path) -> None:
    soft = h5py.SoftLink(f"/{S}/smoke/000001")
    replaced(h5, lambda field, name: field.__setitem__(name, soft))


def external_storage(h5: h5py.File, secret: Path) -> None:
    (secret.parent / "raw").write_bytes(bytes(64))
    replaced(
        h5,
        lambda field, name: field.create_dataset(
            name, (4, 4), "f4", external=[(str(secret.parent / "raw"), 0, 64)]
        ),
    )


def virtual_dataset(h5: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((4, 4), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "scene/numbers", (4, 4))
    replaced(h5, lambda field, name: field.create_virtual_dataset(name, layout))


def virtual_dataset_of_itself(h5: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((4, 4), "f4")
    layout[:] = h5py.VirtualSource(".", f"{S}/smoke/000001", (4, 4))
    replaced(h5, lambda field, name: field.create_virtual_dataset(name, layout))


def virtual_dataset_of_a_pattern(h5: h5py.File, secret: Path) -> None:
    """A dataset of the name `raw%b` would pass; HDF5 shows `raw0`."""
    h5.create_dataset("raw%b", (16,), "f4")
    h5.create_dataset("raw0", (16,), "f4", external=[(str(secret), 0, 64)])
    endless = h5py.h5s.create_simple((1, 16), (h5py.h5s.UNLIMITED, 16))
    endless.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), None, (1, 16))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_virtual(endless, b".", b"/raw%b", h5py.h5s.create_simple((16,)))
    space = h5py.h5s.create_simple((1, 16), (h5py.h5s.UNLIMITED, 16))
    kind = h5py.h5t.IEEE_F32LE
    replaced(h5, lambda field, name: h5py.h5d.create(field.id, name.encode(), kind, space,
                                                     properties))  # fmt: skip


def virtual_dataset_larger_than_its_source(h5: h5py.File, secret: Path) -> None:
    h5["few"] = np.zeros((1, 4), "f4")
    layout = h5py.VirtualLayout((1 << 16, 4 << 10), "f4", maxshape=(None, 4 << 10))
    layout[:1, :4] = h5py.VirtualSource(".", "few", (1, 4))
    replaced(h5, lambda field, name: field.create_virtual_dataset(name, layout))


def external_storage_of_a_compact_dataset(h5: h5py.File, secret: Path) -> None:
    """HDF5 makes none, and reads it: the layout is changed by hand."""
    replaced(h5, lambda field, name: field.create_dataset(name, (3, 1), "f4", external=[
        (str(secret), 0, 12)]))  # fmt: skip
    header = h5py.h5o.get_info(h5[S]["smoke"]["000001"].id).addr + h5.userblock_size
    path = Path(h5.filename)
    h5.close()
    data = bytearray(path.read_bytes())
    assert data[header] == 1  # a version without checksum
    place = data.index(b"\x03\x01" + b"\xff" * 8, header)
    data[place : place + 16] = b"\x03\x00" + (12).to_bytes(2, "little") + bytes(12)
    path.write_bytes(data)


def huge_chunk_of_few_values(h5: h5py.File, secret: Path) -> None:
    replaced(h5, lambda field, name: field.create_dataset(
        name, data=np.zeros((4, 4), "f4"), maxshape=(None, None), chunks=(4096, 4096),
        compression="gzip"))  # fmt: skip


def pointers(h5: h5py.File, secret: Path) -> None:
    kind = h5py.h5t.create(h5py.h5t.OPAQUE, 8)
    kind.set_tag(b"NUMPY:|O")
    space = h5py.h5s.create_simple((4, 4))
    replaced(h5, lambda field, name: h5py.h5d.create(field.id, name.encode(), kind, space))


def strings_for_numbers(h5: h5py.File, secret: Path) -> None:
    text = np.full((4, 4), b"x")
    replaced(h5, lambda field, name: field.create_dataset(name, data=text))


def foreign_filter(h5: h5py.File, secret: Path) -> None:
    replaced(
        h5, lambda field, name: field.create_dataset(name, (4, 4), "f4", chunks=True, scaleoffset=2)
    )


def huge_shape(h5: h5py.File, secret: Path) -> None:
    replaced(
        h5,
        lambda field, name: field.create_dataset(name, (1 << 21, 1 << 21), "f4", chunks=(64, 64)),
    )


def huge_contiguous(h5: h5py.File, secret: Path) -> None:
    replaced(h5, lambda field, name: field.create_dataset(name, (1 << 17, 1 << 17), "f4"))


def deflate_bomb(h5: h5py.File, secret: Path) -> None:
    import zlib

    def put(field: h5py.Group, name: str) -> None:
        # Big endian, so that HDF5's own filters have to be asked in the end.
        dataset = field.create_dataset(name, (4, 4), ">f4", chunks=(4, 4), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), zlib.compress(bytes(1 << 28), 9))

    replaced(h5, put)


def named_type(h5: h5py.File, secret: Path) -> None:
    replaced(h5, lambda field, name: field.__setitem__(name, np.dtype("f4")))


ATTACKS = {
    attack.__name__: attack
    for attack in (
        external_link,
        external_link_to_a_pipe,
        soft_link_through_an_external_one,
        soft_link_to_itself,
        external_storage,
        virtual_dataset,
        virtual_dataset_of_itself,
        virtual_dataset_of_a_pattern,
        virtual_dataset_larger_than_its_source,
        external_storage_of_a_compact_dataset,
        huge_chunk_of_few_values,
        pointers,
        strings_for_numbers,
        foreign_filter,
        huge_shape,
        huge_contiguous,
        deflate_bomb,
        named_type,
    )
}


LINKS = {name for name in ATTACKS if "link" in name}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_frame_is_refused(path: Path, secret: Path, attack: str) -> None:
    with h5py.File(path, "r+") as h5:
        ATTACKS[attack](h5, secret)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with SceneFile(path, "r") as file:
        assert file.scenes == (S,)
        is_link = attack in LINKS  # which lists pass over
        assert file.frames(S)["smoke"] == ((0,) if is_link else (0, 1))
        with pytest.raises((UnsafeFileError, CorruptDataError), match=f"{S}/smoke/000001"):
            file.read_frame(S, "smoke", 1)
        with pytest.raises((UnsafeFileError, CorruptDataError), match=f"{S}/smoke/000001"):
            file.read_values(S, "smoke", 1, {"x": slice(0, 2)})
        assert file.read_frame(S, "smoke", 0) == centered(0.0)
        assert file.read_frame(S, "heat", 1) == centered(3.0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB
    with SceneFile(path) as file:  # and is replaced by a write, whatever it was
        file.write_frame(1, {S: {"smoke": centered(9.0)}})
        assert file.read_frame(S, "smoke", 1) == centered(9.0)
    with h5py.File(secret) as h5:
        assert h5["scene/numbers"][0, 0] == 42


@pytest.mark.parametrize(
    "attack", ["virtual_dataset_of_a_pattern", "external_storage_of_a_compact_dataset"]
)
def test_hdf5_shows_other_files_in_odd_ways_too(path: Path, secret: Path, attack: str) -> None:
    with h5py.File(path, "r+") as h5:
        ATTACKS[attack](h5, secret)
    with h5py.File(path) as h5:
        shown = h5[S]["smoke"]["000001"][...].tobytes()
    assert len(shown) in (12, 64)
    assert shown == secret.read_bytes()[: len(shown)]


@pytest.mark.parametrize("attack", ["external_link", "external_storage", "virtual_dataset"])
def test_plain_h5py_shows_the_secret(path: Path, secret: Path, attack: str) -> None:
    with h5py.File(path, "r+") as h5:
        ATTACKS[attack](h5, secret)
    with h5py.File(path) as h5:
        assert h5[S]["smoke"]["000001"][0, 0] == (0 if attack == "external_storage" else 42)


@pytest.mark.parametrize("place", ["scene", "field", "_files", "_curves", "_times", "_properties"])
@pytest.mark.parametrize("kind", ["external", "soft"])
def test_links_are_not_followed_anywhere(path: Path, secret: Path, place: str, kind: str) -> None:
    with h5py.File(path, "r+") as h5:
        parent = h5 if place == "scene" else h5[S]
        name = {"scene": "sim_000001", "field": "other"}.get(place, place)
        parent.pop(name, None)
        parent[name] = link_to(secret, "/scene") if kind == "external" else h5py.SoftLink("/")
    with SceneFile(path) as file:
        assert file.scenes == (S,)
        assert file.fieldnames(S) == ("heat", "smoke")
        calls: dict[str, Callable[[], Any]] = {
            "_files": lambda: file.files(S),
            "_curves": lambda: file.curves(S),
            "_times": lambda: file.times(S),
            "_properties": lambda: file.properties(S),
            "scene": lambda: file.fieldnames("sim_000001"),
            "field": lambda: file.read_frame(S, "other", 0),
        }
        with pytest.raises((UnsafeFileError, FileNotFoundError)):
            calls[place]()
        writes: dict[str, Callable[[], Any]] = {
            "_files": lambda: file.write_files({S: {"a": b"a"}}),
            "_curves": lambda: file.log_scalars(1, {S: {"loss": [1.0]}}),
            "_times": lambda: file.put_times(1, {S: 1.0}),
            "_properties": lambda: file.put_properties({S: {"long": "x" * (1 << 21)}}),
            "scene": lambda: file.create_scene("sim_000001"),
            "field": lambda: file.write_frame(0, {S: {"other": centered(1.0)}}),
        }
        with pytest.raises(H5SceneError):
            writes[place]()
        assert file.read_frame(S, "smoke", 0) == centered(0.0)
    with h5py.File(secret) as h5:
        assert set(h5) == {"scene"}
        assert set(h5["scene"]) == {"numbers"}


def test_loops_of_links_end(path: Path) -> None:
    with h5py.File(path, "r+") as h5:
        h5[S]["_files/loop"] = h5[S]["_files"]
    with SceneFile(path) as file, pytest.raises(UnsafeFileError, match="loop"):
        file.files(S)
    with h5py.File(path, "r+") as h5:
        del h5[S]["_files/loop"]
        h5[S]["_files/soft"] = h5py.SoftLink(f"/{S}/_files")
        h5[S]["_files/own"] = h5py.SoftLink("own")
    with SceneFile(path) as file:
        assert file.files(S) == ("src/plume.py",)


def test_links_with_names_of_frames_are_not_listed(path: Path) -> None:
    with h5py.File(path, "r+") as h5:
        h5[S]["smoke"]["000007"] = h5py.SoftLink(f"/{S}/smoke/000000")
        h5[S]["smoke"]["000008"] = h5py.ExternalLink("nowhere.h5", "/x")
    with SceneFile(path) as file:
        assert file.frames(S)["smoke"] == (0, 1)
        assert file.read_frame(S, "smoke", -1) == centered(1.0)
        with pytest.raises(UnsafeFileError, match="soft link"):
            file.read_frame(S, "smoke", 7)


def test_very_deep_groups_end(path: Path) -> None:
    with h5py.File(path, "r+") as h5:
        h5.create_group(f"{S}/_files/" + "/".join(["d"] * 200))
    with SceneFile(path) as file, pytest.raises(UnsafeFileError, match="deep"):
        file.files(S)


def test_names_that_would_be_paths_are_passed_over(path: Path, tmp_path: Path) -> None:
    hostile = ("..", "a\\b", "line\nbreak", "\x1b[2J")
    with h5py.File(path, "r+") as h5:
        for name in hostile:
            # Through the lower level: h5py takes `..` for a name, HDF5 too.
            scene = h5py.h5g.create(h5.id, name.encode())
            h5py.Group(scene).attrs["kind"] = "scene"
            field = h5py.h5g.create(h5[S].id, name.encode())
            h5py.Group(field).attrs["kind"] = "field"
        h5py.h5g.create(h5.id, b"\xff\xfe")
    with SceneFile(path) as file:
        assert file.scenes == (S,)
        assert file.fieldnames(S) == ("heat", "smoke")
        assert not file.has_scene("..")
    done = export_scenes(path, tmp_path / "out" / "inner")
    assert not done.problems
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "shared.h5"]


def reference_attribute(h5: h5py.File) -> None:
    h5[S]["smoke"].attrs["boundary"] = h5[S].ref


def pointer_attribute(h5: h5py.File) -> None:
    kind = h5py.h5t.create(h5py.h5t.OPAQUE, 8)
    kind.set_tag(b"NUMPY:|O")
    attribute = h5[S]["smoke"].id
    del h5[S]["smoke"].attrs["boundary"]
    h5py.h5a.create(attribute, b"boundary", kind, h5py.h5s.create_simple((4,)))


def deep_json(h5: h5py.File) -> None:
    h5[S]["smoke"].attrs["boundary"] = '{"a":' * 100_000 + "1" + "}" * 100_000


def huge_tensor(h5: h5py.File) -> None:
    h5[S]["smoke"].attrs["boundary"] = (
        '{"type": "constant", "value": {"__kind__": "tensor", "names": ["x"], "types": ["spatial"],'
        ' "item_names": [null], "sizes": [1000000000000], "dtype": "float64", "data": []}}'
    )


def huge_number(h5: h5py.File) -> None:
    h5[S]["smoke"].attrs["boundary"] = '{"type": "constant", "value": ' + "9" * 100_000 + "}"


@pytest.mark.parametrize("name", ["kind", "encoding_version", "description_checksum", "dims"])
def test_several_values_instead_of_one_are_damage(path: Path, name: str) -> None:
    """Found by tools/fuzz."""
    with h5py.File(path, "r+") as h5:
        field = h5[S]["smoke"]
        del field.attrs[name]
        field.attrs[name] = [1, 2, 3]
    with SceneFile(path) as file:
        with pytest.raises(H5SceneError, match=rf"{name}|no field|version|checksum"):
            file.read_frame(S, "smoke", 0)
        assert file.read_frame(S, "heat", 1) == centered(3.0)


@pytest.mark.parametrize("frame", [np.nan, np.inf, -np.inf, 1.5])
def test_times_of_what_is_no_frame_are_damage(path: Path, frame: float) -> None:
    """Found by tools/fuzz."""
    with h5py.File(path, "r+") as h5:
        h5[S]["_times"][0, 0] = frame
    with SceneFile(path) as file, pytest.raises(CorruptDataError, match="_times"):
        file.times(S)


@pytest.mark.parametrize("columns", [0, 1, 3])
@pytest.mark.parametrize("name", ["_times", "_curves/loss"])
def test_tables_have_the_columns_that_they_should(path: Path, name: str, columns: int) -> None:
    with h5py.File(path, "r+") as h5:
        del h5[S][name]
        table = h5[S].create_dataset(name, data=np.zeros((2, columns)))
        table.attrs["columns"] = json.dumps([str(i) for i in range(columns)])
    with SceneFile(path) as file:
        if name == "_times" or columns == 0:
            with pytest.raises(CorruptDataError, match=name):
                file.times(S) if name == "_times" else file.curves(S)
        else:
            assert file.curves(S)["loss"].values.shape == (2, columns - 1)


def attribute_without_value(h5: h5py.File) -> None:
    h5[S]["smoke"].attrs["boundary"] = h5py.Empty("f4")


@pytest.mark.parametrize(
    "attack",
    [
        attribute_without_value,
        reference_attribute,
        pointer_attribute,
        deep_json,
        huge_tensor,
        huge_number,
    ],
)
def test_a_hostile_description_is_refused(path: Path, attack: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as h5:
        attack(h5)
    with SceneFile(path, "r") as file:
        assert file.frames(S)["smoke"] == (0, 1)
        with pytest.raises(FormatError, match="smoke"):
            file.read_frame(S, "smoke", 0)
        assert file.read_frame(S, "heat", 0) == centered(3.0)


def test_json_is_limited_in_depth() -> None:
    load_json("[" * 90 + "]" * 90)
    load_json("[" + ", ".join('["[[[", "]", 1, "\\"["]' for _ in range(2000)) + "]")
    for brackets in ("[]", "{}"):
        deep = ('{"a":' if brackets == "{}" else "[") * 2000 + brackets[1] * 2000
        with pytest.raises(CorruptDataError, match="nested more than"):
            load_json(deep)


def test_an_array_may_be_limited(path: Path) -> None:
    with SceneFile(path) as file:
        file.write_frame(0, {S: {"large": centered(np.zeros((600, 600), np.float32))}})
    with SceneFile(path, max_array_bytes=1 << 20) as file:
        assert file.read_frame(S, "smoke", 0) == centered(0.0)
        with pytest.raises(UnsafeFileError, match="max_array_bytes"):
            file.read_frame(S, "large", 0)
    with SceneFile(path) as file:
        assert file.read_frame(S, "large", 0).values.shape == (600, 600)
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(InvalidInputError, match="max_array_bytes"):
            SceneFile(path, max_array_bytes=wrong)  # type: ignore[arg-type]


def test_who_trusts_a_file_follows_its_links(path: Path, secret: Path) -> None:
    with h5py.File(path, "r+") as h5:
        replaced(h5, lambda field, name: field.__setitem__(name, link_to(secret, "/scene/numbers")))
        h5["latest"] = h5py.SoftLink(f"/{S}")
    with SceneFile(path, trusted=True) as file, SceneFile(path) as careful:
        assert file.scenes == ("latest", S)
        assert file.read_frame("latest", "smoke", 0) == centered(0.0)
        assert file.read_frame(S, "smoke", 1) == centered(42.0)
        assert careful.scenes == (S,)  # trust belongs to the handle, not to the file
        with pytest.raises(UnsafeFileError, match="trusted=True"):
            careful.read_frame(S, "smoke", 1)


def test_all_that_the_store_gives_out_has_passed_the_gate(path: Path) -> None:
    def look(h5: Any) -> None:
        assert isinstance(h5, SafeFile)
        assert {type(h5[S]), type(h5[S]["smoke"]), type(h5.get(S))} == {type(h5[f"/{S}"])}
        assert [type(member).__name__ for member in h5.values()] == ["SafeGroup"]
        assert type(h5[S]["smoke/000000"].attrs).__name__ == "SafeAttributes"
        assert h5[S]["smoke"].parent.name == f"/{S}"

    open_store(path).read(look)


def test_a_link_whose_name_is_a_path_is_passed_over(tmp_path: Path) -> None:
    place = tmp_path / "paths.h5"
    with h5py.File(place, "w", libver="earliest") as h5:  # whose names have no checksum
        h5["x"] = h5py.SoftLink("/inner")
        h5.create_group("x_y")
        h5.create_group("inner/y")
    place.write_bytes(place.read_bytes().replace(b"x_y\0", b"x/y\0"))
    with h5py.File(place) as h5:
        links: list[bytes] = []
        h5.id.links.iterate(links.append)
        assert b"x/y" in links  # and HDF5 would take it for a way through the soft link
        assert [link for link, _ in members(SafeFile(h5.id), lambda _: True)] == [b"inner"]


def test_listing_a_file_with_a_pointer_as_description_says_so(path: Path) -> None:
    with h5py.File(path, "r+") as h5:
        kind = h5py.h5t.create(h5py.h5t.OPAQUE, 8)
        kind.set_tag(b"NUMPY:|O")  # plain h5py takes the bytes for addresses of objects
        del h5[S]["smoke"].attrs["field_type"]
        attribute = h5py.h5a.create(
            h5[S]["smoke"].id, b"field_type", kind, h5py.h5s.create(h5py.h5s.SCALAR)
        )
        attribute.write(np.array(b"\x10" * 8, "V8"), mtype=kind)
    with SceneFile(path, "r") as file:
        (scene,) = summarize_scenes(file)
    assert {field.name: field.problem for field in scene.fields} == {
        "heat": None,
        "smoke": "the description of the field is missing",
    }
