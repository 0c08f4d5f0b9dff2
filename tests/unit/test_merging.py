"""Scenes of many files merged into one: names, inputs, and what becomes of these."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene import MergeReport, SceneFile, compare, merge
from h5scene.errors import (
    BusyError,
    InvalidInputError,
    MergeConflictError,
    NotFoundError,
    UnsafeFileError,
)
from h5scene.handling.hdf5_trees import check_values
from h5scene.interop.source import SourceFile
from h5scene.interop.statistics import field_statistics
from h5scene.store import close_all, open_store, system
from tests.cli.sample import make_sample
from tests.crash.children import Child
from tests.merging import members, write
from tests.records import centered, content

pytestmark = pytest.mark.usefixtures("in_tmp_path")


# --- names ----------------------------------------------------------------------------------------


def test_all_that_scenes_hold_is_merged() -> None:
    make_sample(Path("a.h5"))
    with SceneFile("a.h5") as file:
        file.rename_scene("sim_000001", "other")
    write("b.h5", "sim_000007")
    done = merge(["a.h5", "b.h5"], "all.h5", verify=True)
    assert done.scenes == {
        ("a.h5", "other"): "other",
        ("a.h5", "sim_000000"): "sim_000000",
        ("b.h5", "sim_000007"): "sim_000007",
    }
    assert (done.output, done.already, done.problems, done.removed) == ("all.h5", (), {}, ())
    assert done.stored_bytes > 0
    for (path, scene), name in done.scenes.items():
        assert compare(f"{path}/{scene}", f"all.h5/{name}") == ()
    close_all()
    merged = content("all.h5")
    for path in ("a.h5", "b.h5"):
        for where, thing in content(path).items():
            if where != "/":
                assert merged.pop(where) == thing
    assert list(merged) == ["/"]


def test_a_file_that_others_have_written_to_before_keeps_what_is_in_it() -> None:
    write("all.h5", "mine", value=5)
    write("a.h5")
    merge("a", "all")
    assert compare("all.h5/sim_000000", "a.h5/sim_000000") == ()
    with SceneFile("all.h5", "r") as file:
        assert file.properties("mine") == {"value": 5}


def test_conflicts_are_told_together_and_nothing_is_merged() -> None:
    write("a.h5", "sim_000000", "sim_000001", "same")
    write("b.h5", "sim_000000", "sim_000002")
    write("all.h5", "sim_000001", "sim_000002", value=7)
    write("all.h5", "same")
    close_all()
    before = Path("all.h5").read_bytes()
    with pytest.raises(MergeConflictError, match="renumber") as caught:
        merge(["a.h5", "b.h5"], "all.h5")
    assert caught.value.conflicts == (
        "sim_000001 of a.h5 is another one in all.h5",
        "sim_000000 is in a.h5 and in b.h5",
        "sim_000002 of b.h5 is another one in all.h5",
    )
    assert pickle.loads(pickle.dumps(caught.value)).conflicts == caught.value.conflicts
    close_all()
    assert Path("all.h5").read_bytes() == before
    with pytest.raises(MergeConflictError):
        merge(["a.h5", "b.h5"], "new.h5")
    assert not Path("new.h5").exists()


def test_new_numbers() -> None:
    write("a.h5", "sim_000000", "sim_000004", "reference", value=1)
    write("b.h5", "sim_000000", "reference", value=2)
    write("all.h5", "sim_000002", value=3)
    done = merge(["a.h5", "b.h5"], "all.h5", ids="renumber")
    assert done.scenes == {
        ("a.h5", "reference"): "reference",
        ("a.h5", "sim_000000"): "sim_000003",
        ("a.h5", "sim_000004"): "sim_000004",
        ("b.h5", "reference"): "reference_000000",
        ("b.h5", "sim_000000"): "sim_000005",
    }
    here = Path.cwd().name
    with SceneFile("all.h5", "r") as file:
        assert file.properties("sim_000005") == {
            "value": 2,
            "merged_from": {"file": f"{here}/b.h5", "scene": "sim_000000"},
        }
    (difference,) = compare("a.h5/sim_000004", "all.h5/sim_000004")
    assert difference.path == "@merged_from"


def test_new_numbers_are_given_once() -> None:
    write("a.h5", "sim_000000", "sim_000001")
    write("b.h5", "sim_000000", value=2)
    first = merge(["a.h5", "b.h5"], "all.h5", ids="renumber")
    again = merge(["b.h5", "a.h5"], "all.h5", ids="renumber")
    assert again.scenes == first.scenes
    assert set(again.already) == set(first.scenes)
    write("b.h5", "sim_000000", value=3)
    other = merge(["a.h5", "b.h5"], "all.h5", ids="renumber")
    assert other.scenes["b.h5", "sim_000000"] == "sim_000003"


def test_a_merged_scene_that_is_merged_again_remembers_both_files() -> None:
    write("a.h5")
    merge("a.h5", "b.h5", ids="renumber")
    merge("b.h5", "all.h5", ids="renumber")
    here = Path.cwd().name
    with SceneFile("all.h5", "r") as file:
        assert file.properties("sim_000000")["merged_from"] == {
            "file": f"{here}/b.h5",
            "scene": "sim_000000",
            "merged_from": {"file": f"{here}/a.h5", "scene": "sim_000000"},
        }


def test_what_is_there_already_is_passed_over() -> None:
    write("a.h5", "sim_000000")
    merge("a.h5", "all.h5")
    write("a.h5", "sim_000001")
    done = merge("a.h5", "all.h5")
    assert done.already == (("a.h5", "sim_000000"),)
    assert done.scenes["a.h5", "sim_000001"] == "sim_000001"
    with SceneFile("all.h5") as file:  # packed otherwise, and the same
        file.write_frame(0, {"sim_000001": {"smoke": centered(np.ones((64, 64)))}})
    with SceneFile("a.h5", compression=None) as file:
        file.write_frame(0, {"sim_000001": {"smoke": centered(np.ones((64, 64)))}})
    assert len(merge("a.h5", "all.h5").already) == 2


def test_a_single_bit_is_a_difference() -> None:
    write("a.h5")
    merge("a.h5", "all.h5")
    with SceneFile("all.h5") as file:
        file.write_frame(1, {"sim_000000": {"smoke": centered(np.nextafter(np.float32(2), 3))}})
    with pytest.raises(MergeConflictError):
        merge("a.h5", "all.h5")


# --- inputs ---------------------------------------------------------------------------------------


def test_directories_are_merged_in_the_order_of_their_numbers() -> None:
    Path("runs").mkdir()
    for number in (10, 9, 1):
        write(f"runs/job{number}.h5", value=number)
    write("runs/all.h5", "other")
    Path("runs/notes.txt").write_text("text")
    Path("runs/.a.h5.0123.new").write_bytes(b"killed")
    done = merge("runs", "runs/all.h5", ids="renumber")
    assert [Path(path).name for path, _ in done.scenes] == ["job1.h5", "job9.h5", "job10.h5"]
    with SceneFile("runs/all.h5", "r") as file:
        assert file.properties("sim_000002")["value"] == 10


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        pytest.param([], InvalidInputError, "no scene files", id="none"),
        pytest.param(["empty"], InvalidInputError, "no scene files", id="empty directory"),
        pytest.param(["a.h5", "none.h5"], NotFoundError, "none.h5", id="missing"),
        pytest.param(["a.h5", "all.h5"], InvalidInputError, "into itself", id="itself"),
    ],
)
def test_wrong_inputs(inputs: list[str], error: type[Exception], message: str) -> None:
    write("a.h5", "mine")
    write("all.h5")
    Path("empty").mkdir()
    with pytest.raises(error, match=message):
        merge(inputs, "all.h5")
    with pytest.raises(InvalidInputError, match="renumber"):
        merge("a.h5", "all.h5", ids="new")  # type: ignore[arg-type]
    assert members("all.h5") == ["sim_000000"]


def test_an_input_that_is_given_twice_is_merged_once() -> None:
    write("a.h5")
    Path("link.h5").symlink_to("a.h5")
    assert len(merge(["a.h5", "./a.h5", "link.h5"], "all.h5").scenes) == 1


def test_an_input_that_somebody_may_go_on_writing_is_left_out() -> None:
    write("a.h5")

    def simulate(report: Callable[[Any], None]) -> None:
        file = SceneFile("live.h5")
        file.create_scene("sim_000001")
        report("written")
        signal.pause()

    child = Child(simulate)
    child.receive()
    try:
        done = merge(["live.h5", "a.h5"], "all.h5", move=True)
        assert list(done.problems) == ["live.h5"]
        assert "still being written" in done.problems["live.h5"]
        assert done.removed == ("a.h5",)
        assert members("all.h5") == ["sim_000000"]
        assert Path("live.h5").exists()
    finally:
        child.kill()
    assert merge("live.h5", "all.h5", move=True).problems == {}
    assert members("all.h5") == ["sim_000000", "sim_000001"]
    assert sorted(path.name for path in Path().iterdir()) == ["all.h5"]


def test_who_only_reads_an_input_does_not_keep_it_out() -> None:
    write("a.h5")
    close_all()

    def look(report: Callable[[Any], None]) -> None:
        file = SceneFile("a.h5", "r")
        report(file.scenes)
        signal.pause()

    child = Child(look)
    child.receive()
    try:
        assert merge("a.h5", "all.h5").problems == {}
    finally:
        child.kill()


def test_what_this_process_has_written_and_left_open_is_merged() -> None:
    file = SceneFile("a.h5")
    file.create_scene("sim_000000")
    assert merge("a.h5", "all.h5").problems == {}
    file.create_scene("sim_000001")  # it goes on as before
    with file.transaction():
        pass
    assert len(merge("a.h5", "all.h5").scenes) == 2


def test_inputs_that_cannot_be_read_are_named_and_left_out() -> None:
    write("a.h5")
    write("cut.h5", "cut")
    close_all()
    os.truncate("cut.h5", Path("cut.h5").stat().st_size // 2)
    Path("text.h5").write_text("no HDF5 at all")
    with h5py.File("foreign.h5", "w") as file:
        file["x"] = 1
    done = merge(["cut.h5", "text.h5", "a.h5", "foreign.h5"], "all.h5", move=True)
    assert list(done.problems) == ["cut.h5", "text.h5", "foreign.h5"]
    assert done.removed == ("a.h5",)
    assert Path("cut.h5").exists()
    assert merge(["text.h5"], "new.h5").problems.keys() == {"text.h5"}
    assert not Path("new.h5").exists()


def test_a_scene_whose_structure_is_damaged_is_left_out_and_the_others_are_not(
    portions: None,
) -> None:
    write("a.h5", "sim_000000", "sim_000001", "sim_000002", frames=6)
    close_all()
    with h5py.File("a.h5") as file:
        address = h5py.h5o.get_info(file["sim_000001/smoke/000004"].id).addr
        start = address + file.userblock_size
    data = bytearray(Path("a.h5").read_bytes())
    data[start : start + 8] = b"\xff" * 8
    Path("a.h5").write_bytes(data)
    done = merge("a.h5", "all.h5", move=True)
    assert list(done.problems) == ["a.h5/sim_000001"]
    assert [scene for _, scene in done.scenes] == ["sim_000000", "sim_000002"]
    assert members("all.h5") == ["sim_000000", "sim_000002"]
    assert done.removed == ()
    assert Path("a.h5").exists()


def test_verifying_finds_damaged_numbers() -> None:
    write("a.h5", "sim_000000", "sim_000001")
    close_all()
    data = Path("a.h5").read_bytes()
    frame = np.full((4, 4), 2, np.float32).tobytes()
    assert data.count(frame) == 2
    Path("a.h5").write_bytes(data.replace(frame, frame[:-1] + b"\x41", 1))
    assert merge("a.h5", "unverified.h5").problems == {}
    done = merge("a.h5", "all.h5", move=True)
    ((path, message),) = done.problems.items()
    assert path.startswith("a.h5/sim_00000")
    assert "damaged" in message
    assert done.removed == ()
    assert Path("a.h5").exists()


# --- removing inputs ------------------------------------------------------------------------------


def test_moved_inputs_are_removed_with_their_directory() -> None:
    Path("runs").mkdir()
    write("runs/a.h5")
    write("runs/b.h5", "sim_000001")
    done = merge("runs", "all.h5", move=True)
    assert done.removed == ("runs/a.h5", "runs/b.h5")
    assert sorted(path.name for path in Path().iterdir()) == ["all.h5"]
    assert members("all.h5") == ["sim_000000", "sim_000001"]


def test_a_killed_move_is_finished_by_the_next_one() -> None:
    write("a.h5")
    merge("a.h5", "all.h5")  # as if it had been killed before it removed the input
    done = merge("a.h5", "all.h5", move=True)
    assert done.already == (("a.h5", "sim_000000"),)
    assert done.removed == ("a.h5",)


def test_a_copy_that_is_not_right_keeps_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.h5")
    merge("a.h5", "all.h5")
    close_all()
    data = Path("all.h5").read_bytes()
    frame = np.full((4, 4), 2, np.float32).tobytes()
    Path("all.h5").write_bytes(data.replace(frame, frame[:-1] + b"\x41"))
    done = merge("a.h5", "all.h5", move=True)
    assert "other values" in done.problems["a.h5/sim_000000"]
    assert Path("a.h5").exists()


def test_an_input_that_holds_more_than_scenes_is_not_removed() -> None:
    write("a.h5")
    close_all()
    with h5py.File("a.h5", "r+") as file:
        file["mine"] = [1, 2]
        file.attrs["note"] = "mine, too"
    done = merge("a.h5", "all.h5", move=True)
    assert done.problems == {
        "a.h5": "merged, but not removed: it holds 'mine', '@note' beside its scenes"
    }
    assert Path("a.h5").exists()


def test_an_input_without_scenes_is_removed() -> None:
    with SceneFile("a.h5"):
        pass
    assert merge("a.h5", "all.h5", move=True).removed == ("a.h5",)


def test_an_input_that_changes_meanwhile_is_kept(portions: None) -> None:
    write("a.h5", "sim_000000", frames=8)
    changes = 0

    def change(done: int, total: int) -> None:
        nonlocal changes
        changes += 1
        if changes == 2:
            with SceneFile("a.h5") as file:
                file.write_frame(9, {"sim_000000": {"smoke": centered(9.0)}})

    done = merge("a.h5", "all.h5", move=True, on_progress=change)
    assert "changed while it was merged" in done.problems["a.h5"]
    assert members("all.h5") == []
    assert merge("a.h5", "all.h5", move=True).removed == ("a.h5",)
    with SceneFile("all.h5", "r") as file:
        assert file.frames("sim_000000") == {"smoke": (*range(8), 9)}


def test_a_change_just_before_the_input_is_removed_keeps_it() -> None:
    write("a.h5")
    calls = 0

    def change(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if done == total and calls:
            with SceneFile("a.h5") as file:
                file.put_properties({"sim_000000": {"late": calls}})

    done = merge("a.h5", "all.h5", move=True, on_progress=change)
    assert done.removed == ()
    assert done.problems
    assert Path("a.h5").exists()


def test_an_input_with_an_interrupted_commit_is_merged_as_it_was_committed() -> None:
    write("a.h5")
    close_all()

    def write_and_die(report: Callable[[Any], None]) -> None:
        real = system.Disk.truncate

        def die(self: system.Disk, count: int) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        with SceneFile("a.h5") as file:
            file.put_properties({"sim_000000": {"first": 1}})
            system.Disk.truncate = die  # type: ignore[method-assign]
            file.put_properties({"sim_000000": {"last": 1}})
        system.Disk.truncate = real  # type: ignore[method-assign]

    Child(write_and_die).wait()
    shutil.copy("a.h5", "b.h5")
    merge("b.h5", "copied.h5")
    assert merge("a.h5", "moved.h5", move=True).removed == ("a.h5",)
    for path in ("copied.h5", "moved.h5"):
        with SceneFile(path, "r") as file:
            assert file.properties("sim_000000")["last"] == 1


def test_the_report_pickles() -> None:
    write("a.h5")
    done = merge("a.h5", "all.h5")
    assert isinstance(done, MergeReport)
    assert pickle.loads(pickle.dumps(done)) == done


@pytest.mark.parametrize("times", [1, 2], ids=["merged", "verified"])
def test_progress_ends_at_all(times: int) -> None:
    write("a.h5", "sim_000000", "sim_000002", "sim_000003")
    write("b.h5", "sim_000001")
    with SceneFile("none.h5"):
        pass
    inputs = ["a.h5", "b.h5", "none.h5"]
    said: list[tuple[int, int]] = []
    merge(inputs, "all.h5", verify=times == 2, on_progress=lambda *state: said.append(state))
    size = sum(Path(path).stat().st_size for path in inputs) * times
    assert said[-1] == (size, size)
    assert said == sorted(said)


def test_an_input_is_removed_only_in_the_state_that_was_merged() -> None:
    write("a.h5")
    store = open_store("a.h5")
    state = store.state()
    assert store.state() == state
    write("a.h5", value=2)
    assert store.state() != state
    with pytest.raises(BusyError, match="changed"):
        store.remove(state)
    assert Path("a.h5").exists()
    store.remove(store.state())
    assert not Path("a.h5").exists()
    assert not Path("a.h5.lock").exists()


# --- statistics -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", ["keep", "renumber"])
@pytest.mark.parametrize("asked", ["a.h5", "all.h5"])
def test_statistics_make_no_other_scene(ids: Any, asked: str) -> None:
    write("a.h5", "sim_000000", "sim_000001")
    first = merge("a.h5", "all.h5", ids=ids)
    field_statistics([(SourceFile(asked), "sim_000000", None)], ["smoke"])
    assert "_statistics" in members_of_scene(asked, "sim_000000")
    again = merge("a.h5", "all.h5", ids=ids, verify=True)
    assert (again.scenes, again.problems) == (first.scenes, {})
    assert len(again.already) == 2


def members_of_scene(path: str, scene: str) -> list[str]:
    close_all()
    with h5py.File(path) as file:
        return sorted(file[scene])


# --- inputs that are not what they seem -----------------------------------------------------------


def test_a_dataset_that_reads_another_file_is_not_compared() -> None:
    write("a.h5")
    merge("a.h5", "all.h5")
    close_all()
    shutil.copy("all.h5", "evil.h5")
    with h5py.File("evil.h5", "r+") as file:
        group = file["sim_000000/smoke"]
        frame = group["000001"]
        values, attributes = frame[()], dict(frame.attrs)
        del group["000001"]
        values.tofile("secret.bin")
        place = [("secret.bin", 0, values.nbytes)]
        made = group.create_dataset("000001", values.shape, values.dtype, external=place)
        for name, value in attributes.items():
            if "checksum" not in name:
                made.attrs[name] = value
    done = merge("evil.h5", "all.h5")
    assert done.already == ()
    assert "another file" in done.problems["evil.h5/sim_000000"]


def test_other_data_that_stand_elsewhere_are_not_compared() -> None:
    for path in ("a.h5", "b.h5"):
        write(path)
        close_all()
        with h5py.File(path, "r+") as file:
            kind = h5py.opaque_dtype(np.dtype("V4"))
            place = [("secret.bin", 0, 8)] if path == "b.h5" else None
            file["sim_000000"].create_dataset("note", (2,), kind, external=place)
    os.mkfifo("secret.bin")
    with h5py.File("a.h5") as a, h5py.File("b.h5") as b:
        with pytest.raises(UnsafeFileError, match="elsewhere"):
            check_values(a["sim_000000/note"].id, b["sim_000000/note"].id, "/note")


def test_one_scene_that_cannot_be_compared_does_not_stop_the_others() -> None:
    write("a.h5", "sim_000000", "sim_000001")
    write("b.h5", "sim_000002")
    close_all()
    with h5py.File("a.h5", "r+") as file:
        values = np.empty(1, object)
        values[0] = np.arange(3)
        frame = file["sim_000000/smoke/000000"]
        frame.attrs.create("lists", values, dtype=h5py.vlen_dtype("i4"))
    merge("a.h5", "all.h5")
    done = merge(["a.h5", "b.h5"], "all.h5")
    assert "variable length" in done.problems["a.h5/sim_000000"]
    assert done.scenes == {
        ("a.h5", "sim_000001"): "sim_000001",
        ("b.h5", "sim_000002"): "sim_000002",
    }


def test_the_directory_of_the_output_is_made() -> None:
    write("a.h5")
    assert merge("a.h5", "deep/er/all.h5").problems == {}
    assert members("deep/er/all.h5")[-1] == "sim_000000"


def test_a_link_is_removed_with_the_file_that_it_leads_to() -> None:
    Path("real").mkdir()
    Path("links").mkdir()
    write("real/a.h5")
    Path("links/a.h5").symlink_to("../real/a.h5")
    done = merge("links", "all.h5", move=True)
    assert (done.problems, done.removed) == ({}, ("links/a.h5",))
    assert not Path("links").exists()
    assert list(Path("real").iterdir()) == []
