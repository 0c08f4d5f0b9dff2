"""`h5scene.check`: what is wrong with a file is found, and nothing else is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene import SceneFile, check, errors
from h5scene.cli import run
from h5scene.handling import check_steps
from h5scene.handling.checking import Checked
from h5scene.store import close_all
from tests.damage.damaged import FRAMES, SCENES, data_of, flip, make_file, overwrite, spoil_header
from tests.records import centered

S = SCENES[0]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("check") / "runs.h5")


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    place = tmp_path / "runs.h5"
    place.write_bytes(original.read_bytes())
    return place


def found(path: Path, *, sandbox: bool = False) -> dict[str, str]:
    """Returns the kinds of findings by path."""
    return {one.path: one.kind for one in check(path, sandbox=sandbox).findings}


@pytest.mark.parametrize("sandbox", [False, True])
def test_a_whole_file_is_sound(path: Path, sandbox: bool) -> None:
    before = path.read_bytes()
    steps: list[tuple[int, int]] = []
    done = check(path, sandbox=sandbox, on_progress=lambda *step: steps.append(step))
    assert done.is_sound
    assert done.findings == ()
    assert {name: done.counts[name] for name in ("scenes", "fields", "frames", "files")} == {
        "scenes": 3,
        "fields": 6,
        "frames": 6 * FRAMES,
        "files": 3,
    }
    assert done.counts["properties"] == 6
    assert done.counts["times"] == 3 * FRAMES
    assert steps == sorted(steps)
    assert path.read_bytes() == before


@pytest.mark.parametrize("inside", ["smoke/000003", "heat/000003", "_files/src/plume.py"])
def test_changed_values_are_found(path: Path, inside: str) -> None:
    flip(path, data_of(path, f"{S}/{inside}") + 5)
    done = check(path)
    assert [(one.path, one.kind) for one in done.findings] == [(f"/{S}/{inside}", "damaged")]
    assert done.counts.get("damaged frames", 0) == (0 if "files" in inside else 1)
    assert done.counts["frames"] == 6 * FRAMES


def test_one_damaged_object_hides_no_other(path: Path) -> None:
    flip(path, data_of(path, f"{S}/smoke/000003"))
    flip(path, data_of(path, f"{S}/smoke/000009"))
    flip(path, data_of(path, f"{SCENES[2]}/heat/000000") + 20)
    spoil_header(path, f"{SCENES[1]}/smoke")
    assert {one: kind for one, kind in found(path).items() if kind == "damaged"} == {
        f"/{S}/smoke/000003": "damaged",
        f"/{S}/smoke/000009": "damaged",
        f"/{SCENES[2]}/heat/000000": "damaged",
        f"/{SCENES[1]}/smoke": "damaged",
    }


def lost_kind_of_scene(h5: h5py.File) -> None:
    del h5[S].attrs["kind"]


def lost_kind_of_field(h5: h5py.File) -> None:
    del h5[S]["smoke"].attrs["kind"]


def changed_description(h5: h5py.File) -> None:
    h5[S]["smoke"].attrs["upper"] = [2.0, 2.0]


def false_name(h5: h5py.File) -> None:
    h5[S]["smoke"].attrs["name"] = "velocity"


def frames_that_differ(h5: h5py.File) -> None:
    other = h5[S]["smoke"].create_dataset("000099", data=np.zeros((5, 5), np.float32))
    assert other.shape == (5, 5)


def false_rounding(h5: h5py.File) -> None:
    h5[S]["smoke"]["000000"].attrs["max_relative_error"] = -3.0


def link_out(h5: h5py.File) -> None:
    h5["elsewhere"] = h5py.ExternalLink("other.h5", "/")


def data_elsewhere(h5: h5py.File) -> None:
    del h5[S]["smoke"]["000001"]
    h5[S]["smoke"].create_dataset("000001", (4, 4), "f4", external=[("raw", 0, 64)])


def twice_the_same_time(h5: h5py.File) -> None:
    h5[S]["_times"][1] = h5[S]["_times"][0]


def time_of_no_frame(h5: h5py.File) -> None:
    h5[S]["_times"][1, 0] = 1.5


def statistics_of_no_frame(h5: h5py.File) -> None:
    statistics(h5, [[99, 16, 1.0, 0.0, 1.0, 1.0]])


def impossible_statistics(h5: h5py.File) -> None:
    statistics(h5, [[1, 16, 5.0, 0.0, 0.0, 1.0]])


def statistics(h5: h5py.File, rows: list[list[float]]) -> None:
    table = h5.create_dataset(f"{S}/_statistics/smoke", data=np.array(rows))
    table.attrs["columns"] = json.dumps(["frame", "count", "mean", "variance", "min", "max"])


def curve_that_is_none(h5: h5py.File) -> None:
    h5[S]["_curves"]["steps"] = np.arange(4)


def damaged_properties(h5: h5py.File) -> None:
    h5[S]["_properties"][0] = 0


@pytest.mark.parametrize(
    ("damage", "where", "kind"),
    [
        (lost_kind_of_scene, f"/{S}", "damaged"),
        (lost_kind_of_field, f"/{S}/smoke", "damaged"),
        (changed_description, f"/{S}/smoke", "damaged"),
        (false_name, f"/{S}/smoke", "invalid"),
        (frames_that_differ, f"/{S}/smoke/000099", "invalid"),
        (false_rounding, f"/{S}/smoke/000000", "damaged"),
        (link_out, "/elsewhere", "unsafe"),
        (data_elsewhere, f"/{S}/smoke/000001", "unsafe"),
        (twice_the_same_time, f"/{S}/_times", "invalid"),
        (time_of_no_frame, f"/{S}/_times", "invalid"),
        (statistics_of_no_frame, f"/{S}/_statistics/smoke", "invalid"),
        (impossible_statistics, f"/{S}/_statistics/smoke", "invalid"),
        (curve_that_is_none, f"/{S}/_curves/steps", "damaged"),
        (damaged_properties, f"/{S}/_properties", "damaged"),
    ],
)
def test_what_is_wrong_is_named(
    path: Path, damage: Callable[[h5py.File], None], where: str, kind: str
) -> None:
    with h5py.File(path, "r+") as h5:
        damage(h5)
    done = check(path)
    assert not done.is_sound
    problems = {one.path: one.kind for one in done.problems}
    assert problems.pop(where) == kind
    assert all(other.startswith(where) or damage is lost_kind_of_field for other in problems)


def test_what_is_not_ours_is_named_and_no_problem(path: Path) -> None:
    with h5py.File(path, "r+") as h5:
        h5["notes"] = np.arange(3)
        h5["latest"] = h5py.SoftLink(f"/{S}")
        h5[S]["smoke"].attrs["units"] = "kg"
        h5[S]["smoke/extra"] = 1
        h5[S].create_group("_future")
        h5.create_group("_objects")["0" * 40] = h5py.SoftLink("/nowhere")
    done = check(path)
    assert done.is_sound
    assert {one.path for one in done.findings} == {
        "/notes",
        "/latest",
        f"/{S}/smoke",
        f"/{S}/smoke/extra",
        f"/{S}/_future",
        "/_objects",
    }


def test_the_same_of_many_frames_is_said_a_few_times(path: Path) -> None:
    with h5py.File(path, "r+") as h5:
        for frame in h5[S]["smoke"].values():
            frame.attrs["units"] = "kg"
    findings = check(path).findings
    assert len(findings) == 4
    assert "9 more" in findings[-1].message or "9 more" in findings[0].message


@pytest.mark.parametrize("sandbox", [False, True])
def test_a_file_that_cannot_be_opened(path: Path, sandbox: bool) -> None:
    path.write_bytes(path.read_bytes()[:-1000])
    done = check(path, sandbox=sandbox)
    assert [(one.path, one.kind) for one in done.findings] == [("/", "damaged")]
    assert "truncated" in done.findings[0].message


def test_what_is_no_scene_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    other.write_bytes(b"something else")
    with pytest.raises(errors.NotASceneFileError):
        check(other)
    with pytest.raises(errors.NotFoundError):
        check(tmp_path / "none.h5")


def test_leftovers_of_a_killed_writer_are_told(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(5000))
    done = check(path)
    assert done.is_sound
    assert "5,000 bytes behind its end" in done.findings[0].message


def _crash(*_: object) -> None:
    os.abort()


def test_what_ends_the_process_is_one_finding(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The child loads a module that makes one frame end it, as a bug in HDF5 would."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "from h5scene.format import tree\n"
        "read = tree.SceneTree.read_field\n"
        "def deadly(self, scene, name, frame, *a, **k):\n"
        "    if (name, frame) == ('smoke', 5):\n"
        "        os.abort()\n"
        "    return read(self, scene, name, frame, *a, **k)\n"
        "tree.SceneTree.read_field = deadly\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = check(path, sandbox=True)
    assert {one.path for one in done.findings} == {f"/{scene}/smoke/000005" for scene in SCENES}
    assert all("SIGABRT" in one.message for one in done.findings)
    assert done.counts["frames"] == 6 * FRAMES
    assert done.counts["damaged frames"] == 3


def test_others_may_write_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_steps, "_STEP_S", 0.0)  # a step for each frame
    count = 0

    def write(*_: int) -> None:
        nonlocal count
        count += 1
        if count % 10 == 0:
            with SceneFile(path) as file:
                file.write_frame(count, {S: {"smoke": centered(float(count))}})
                file.remove_frames(S, "smoke", [FRAMES - 1] if count == 10 else [])

    done = check(path, on_progress=write)
    assert count >= 60
    assert done.is_sound


# --- the command ----------------------------------------------------------------------------------


def test_the_command(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(path)]) == 0
    assert f"{path} is as it was written: 3 scenes, 6 fields, 72 frames, 3 files" in (
        capsys.readouterr().out
    )
    close_all()
    flip(path, data_of(path, f"{S}/smoke/000003"))
    assert run(["check", str(path)]) == 1
    printed = capsys.readouterr().out
    assert f"/{S}/smoke/000003: damaged: " in printed
    assert "1 of 72 frames cannot be read" in printed
    assert f"`h5scene recover {path} -o NEW`" in printed
    assert run(["check", str(path), "--json", "--sandbox"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["is_sound"] is False
    assert told["counts"]["damaged frames"] == 1
    assert [one["path"] for one in told["findings"]] == [f"/{S}/smoke/000003"]
    assert run(["check", str(path), "-q"]) == 1
    assert capsys.readouterr().out == ""
    assert run(["check", f"{path}/{S}"]) == 2


def test_a_result_can_be_kept(path: Path) -> None:
    overwrite(path, data_of(path, f"{S}/smoke/000003"), b"\xff" * 8)
    done = check(path)
    assert isinstance(done, Checked)
    assert str(done.problems[0]).startswith(f"/{S}/smoke/000003: damaged: ")


def test_a_link_in_the_list_of_objects_hides_nothing(path: Path) -> None:
    with h5py.File(path, "r+") as h5:
        h5["ext"] = h5py.ExternalLink("other.h5", "/")
        h5.require_group("_objects")["x"] = h5py.SoftLink("/ext/smoke")
    done = check(path)
    assert done.counts["frames"] == 6 * FRAMES
    assert {one.path: one.kind for one in done.findings} == {
        "/ext": "unsafe",
        "/_objects": "unknown",
    }


def test_checks_in_threads_have_files_of_their_own(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that begins and ends while another one is at work takes nothing from that one."""
    other = tmp_path / "other.h5"
    other.write_bytes(path.read_bytes())
    scene = check_steps.scene
    inner: list[Checked] = []

    def scene_meanwhile(file: SceneFile, name: str) -> check_steps.Result:
        if not inner:
            inner.append(Checked(""))  # the check in here comes here, too
            with ThreadPoolExecutor(1) as pool:
                inner.append(pool.submit(check, other).result())
        return scene(file, name)

    monkeypatch.setattr(check_steps, "scene", scene_meanwhile)
    opened: list[str] = []
    init = SceneFile.__init__

    def counted(self: SceneFile, *arguments: Any, **options: Any) -> None:
        opened.append(str(arguments[0]))
        init(self, *arguments, **options)

    monkeypatch.setattr(SceneFile, "__init__", counted)
    assert check(path).is_sound
    assert inner[1].is_sound
    assert opened == [str(path), str(other)]


def test_what_a_merge_has_left_is_told(path: Path) -> None:
    with h5py.File(path, "r+") as h5:
        copy = h5.create_group("_merging/abc")
        copy["values"] = np.zeros(1000, np.uint8)
    (finding,) = check(path).findings
    assert (finding.path, finding.kind) == ("/_merging", "unknown")
    assert "copies of 1 scenes, 1,000 bytes" in finding.message
    assert "merge" in finding.message
