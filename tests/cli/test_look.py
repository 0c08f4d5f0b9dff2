"""`h5scene ls`, `info`, `get`, `cat`, `diff`, `curves`: what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from rich.cells import cell_len

from h5scene import SceneFile
from h5scene.cli import run
from h5scene.cli.texts import boundary_text
from h5scene.store import close_all
from tests.cli.sample import SCENE, on_terminal
from tests.records import centered

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("sample")


def said(capsys: Capture, *arguments: str, status: int = 0) -> str:
    """Returns what a command prints."""
    assert run(list(arguments)) == status
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def said_json(capsys: Capture, *arguments: str) -> Any:
    """Returns the JSON that a command prints."""
    return json.loads(said(capsys, *arguments, "--json"))


def test_ls_of_a_file(capsys: Capture) -> None:
    out = said(capsys, "ls", "runs.h5")
    lines = out.splitlines()
    assert re.fullmatch(
        r"runs\.h5: 2 scenes, [0-9.]+ kB, format 1\.0, made by h5scene .*", lines[0]
    )
    assert lines[2].split() == ["scene", "field", "shape", "dtype", "frames", "on", "disk", "ratio"]
    assert lines[3].split()[:5] == [SCENE, "density", "6×5×4", "float64", "7"]
    assert lines[4].split()[:4] == ["smoke", "24×16", "float32", "0–2"]
    assert lines[5].split()[:4] == ["velocity", "5×4×2", "float32", "0–2"]
    notes = '  dt=0.25, nan="NaN", note="first try"; 2 attached files; 2 curves; times'
    assert lines[6] == notes
    assert said(capsys, "ls", "-1", "runs") == "sim_000000\nsim_000001\n"  # the suffix may be left


def test_ls_of_a_scene_and_of_a_field(capsys: Capture) -> None:
    assert "sim_000001" not in said(capsys, "ls", "runs.h5/0")
    assert said(capsys, "ls", "-1", f"runs.h5/{SCENE}") == "density\nsmoke\nvelocity\n"
    lines = said(capsys, "ls", "runs.h5/0/smoke").splitlines()
    assert lines[0] == f"runs.h5/{SCENE}/smoke: 3 frames"
    assert [line.split()[:4] for line in lines[3:]] == [
        ["0", "0", "24×16", "float32"],
        ["1", "0.25", "24×16", "float32"],
        ["2", "0.5", "24×16", "float32"],
    ]
    assert said(capsys, "ls", "-1", "runs.h5/0/smoke") == "0\n1\n2\n"


def test_ls_json(capsys: Capture) -> None:
    found = said_json(capsys, "ls", "runs.h5")
    assert list(found) == [
        "file", "size_bytes", "format_version", "creator", "scene_count", "scenes",
    ]  # fmt: skip
    scene = found["scenes"][0]
    assert scene["scene"] == SCENE
    assert scene["properties"] == {"dt": 0.25, "nan": "NaN", "note": "first try"}
    assert scene["files"] == ["log", "src/plume.py"]
    smoke = scene["fields"][1]
    assert smoke["value_bytes"] == 3 * 24 * 16 * 4
    assert 0 < smoke["stored_bytes"] < smoke["value_bytes"]
    del smoke["stored_bytes"]
    assert smoke == {
        "field": "smoke", "field_type": "CenteredGrid", "dims": ["x", "y"], "shape": [24, 16],
        "dtype": "float32", "frame_count": 3, "first_frame": 0, "last_frame": 2,
        "value_bytes": 4608, "object_bytes": 0, "is_exact": True, "problem": None,
    }  # fmt: skip
    frames = said_json(capsys, "ls", "runs.h5/0/smoke")["frames"]
    assert frames == [{"frame": i, "time": i / 4} for i in range(3)]
    assert said_json(capsys, "ls", "runs.h5/0")["scene"] == SCENE


def test_a_few_frames_stand_for_many(tmp_path: Path, capsys: Capture) -> None:
    with SceneFile("many.h5") as file:
        file.create_scene("sim")
        with file.transaction():
            for frame in range(0, 400, 2):
                file.write_frame(frame, {"sim": {"smoke": centered(float(frame))}})
    line = said(capsys, "ls", "many.h5").splitlines()[3]
    assert line.split()[-3:] == ["~12.8", "kB", "1.00"]
    assert "0–398 (200)" in line
    assert "~" not in said(capsys, "ls", "many.h5", "--exact")
    frames = said(capsys, "ls", "many.h5/sim/smoke").splitlines()
    assert frames[-1] == "… and 160 more frames, up to 398; --all lists them"
    assert len(said(capsys, "ls", "many.h5/sim/smoke", "--all").splitlines()) == 203


def test_ls_shows_the_first_scenes_of_many(capsys: Capture) -> None:
    with SceneFile("many.h5") as file:
        file.create_scenes("sim", 100)
    lines = said(capsys, "ls", "many.h5").splitlines()
    assert lines[-1] == "… and 60 more scenes, up to sim_000099; --all lists them"
    assert len(lines) == 44
    assert len(said(capsys, "ls", "many.h5", "-a").splitlines()) == 103
    assert len(said_json(capsys, "ls", "many.h5")["scenes"]) == 100


def test_ls_and_info_name_what_is_damaged(sample: Path, capsys: Capture) -> None:
    close_all()
    with h5py.File(sample, "r+") as file:
        del file[SCENE]["smoke"].attrs["field_type"]
        file[SCENE]["velocity"].attrs["dims"] = "no JSON"
        file["sim_000001/_properties"] = np.arange(3.0)
    out = said(capsys, "ls", "runs.h5", status=1)
    assert "  damaged: smoke: the description of the field is missing\n" in out
    assert "  damaged: velocity: not JSON" in out
    assert "  damaged: /sim_000001/_properties is no dataset of bytes\n" in out
    assert f"damaged: {SCENE}, sim_000001\n" in said(capsys, "info", "runs.h5", status=1)


def test_info_of_a_file_and_a_scene(capsys: Capture) -> None:
    out = said(capsys, "info", "runs.h5")
    assert "scenes: 2, sim_000000 to sim_000001\n" in out
    assert "fields: density, smoke, velocity\n" in out
    assert "frames: 14 of all fields and scenes\n" in out
    assert said_json(capsys, "info", "runs.h5")["frame_count"] == 14
    out = said(capsys, "info", "runs.h5/1")
    assert '\n  note: "first try"\n' in out
    assert "\ntimes of 3 frames: 0 (frame 0) to 0.5 (frame 2)\n" in out
    assert re.search(r"\n  u +3  \[1\.0, 2\.0\]\n", out)
    assert re.search(r"\n  src/plume\.py +15 bytes\n", out)
    found = said_json(capsys, "info", "runs.h5/1")
    assert found["curves"] == [{"name": "loss", "steps": 3}, {"name": "u", "steps": 3}]
    assert found["files"] == [{"name": "log", "bytes": 2}, {"name": "src/plume.py", "bytes": 15}]


def test_info_of_a_field_shows_its_last_frame(capsys: Capture) -> None:
    out = said(capsys, "info", "runs.h5/0/smoke")
    for line in (
        "frames:     0–2, 3 in all",
        "type:       CenteredGrid",
        "bounds:     x 0 to 1, y 0 to 1",
        "boundary:   0",
        "last frame: 2",
        "time:       0.5",
        "dims:       x=24, y=16",
    ):
        assert f"{line}\n" in out
    picture = out.split("\n\n")[-1].splitlines()
    assert len(picture) == 16
    assert all(re.fullmatch(r"  [ .:\-=+*#%@]+", row) for row in picture)
    assert "@" not in said(capsys, "info", "runs.h5/0/smoke", "--no-picture")


def test_statistics_leave_padding_out(capsys: Capture) -> None:
    frame = said_json(capsys, "info", "runs.h5/0/velocity/1")["frame"]
    assert frame["count"] == frame["finite_count"] == 5 * 3 + 4 * 4
    assert (frame["minimum"], frame["maximum"]) == (3.0, 4.0)
    assert frame["mean"] == pytest.approx((15 * 3 + 16 * 4) / 31)
    out = said(capsys, "info", "runs.h5/0/velocity/1")
    assert "range:    3 to 4\n" in out
    assert "\n  magnitude\n" in out


def test_info_of_a_frame_of_three_dims(capsys: Capture) -> None:
    out = said(capsys, "info", f"runs.h5/{SCENE}/density/000007")
    assert "boundary: periodic\n" in out
    assert "range:    0 to 119\n" in out
    assert "\n  z = 2 of 4\n" in out
    frame = said_json(capsys, "info", "runs.h5/0/density/7")["frame"]
    assert frame["mean"] == 59.5
    assert frame["std"] == pytest.approx(np.arange(120).std())


def test_statistics_of_large_frames_are_read_in_pieces(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = said_json(capsys, "info", "runs.h5/0/velocity/1")["frame"]
    monkeypatch.setattr("h5scene.handling.statistics._SLAB_BYTES", 40)
    pieces = said_json(capsys, "info", "runs.h5/0/velocity/1")["frame"]
    assert {**pieces, "mean": None, "std": None} == {**whole, "mean": None, "std": None}
    assert (pieces["mean"], pieces["std"]) == pytest.approx((whole["mean"], whole["std"]))


def test_info_of_values_that_are_not_finite(capsys: Capture) -> None:
    values = np.full((4, 3), np.nan, np.float32)
    with SceneFile("nan.h5") as file:
        file.create_scene("sim")
        file.write_frame(0, {"sim": {"nothing": centered(values)}})
        values = values.copy()
        values[:2] = [[1, 2, 3], [4, 5, np.inf]]
        file.write_frame(0, {"sim": {"some": centered(values), "line": centered(
            np.arange(5), "x")}})  # fmt: skip
        file.write_frame(0, {"sim": {"z": centered(np.full((3, 3), 3 + 4j)), "b": centered(
            np.eye(3, dtype=bool)), "none": centered(np.empty((0, 3)))}})  # fmt: skip
    out = said(capsys, "info", "nan.h5/sim/nothing")
    assert "not finite: 12 of 12 values\n" in out
    assert "(no finite value to show)" in out
    out = said(capsys, "info", "nan.h5/sim/some")
    assert "not finite: 7 of 12 values\n" in out
    assert "range:      1 to 5\n" in out
    assert "?" in out.split("\n\n")[-1]
    assert said_json(capsys, "info", "nan.h5/sim/nothing")["frame"]["mean"] == "NaN"
    assert "▁▃▅▇█" in said(capsys, "info", "nan.h5/sim/line")
    assert "range:      5 to 5\n" in said(capsys, "info", "nan.h5/sim/z")
    assert "range:      0 to 1\n" in said(capsys, "info", "nan.h5/sim/b")
    assert "range" not in said(capsys, "info", "nan.h5/sim/none")


def test_get(capsys: Capture) -> None:
    assert said(capsys, "get", "runs.h5/0") == 'dt = 0.25\nnan = "NaN"\nnote = "first try"\n'
    assert said(capsys, "get", "runs.h5/0", "note") == "first try\n"
    assert said(capsys, "get", "runs.h5/0", "dt") == "0.25\n"
    assert said(capsys, "get", "runs.h5", "dt").splitlines()[1].split() == [SCENE, "0.25"]
    assert said_json(capsys, "get", "runs.h5/0", "dt") == {"dt": 0.25}
    assert said_json(capsys, "get", "runs.h5", "dt") == {
        "sim_000000": {"dt": 0.25}, "sim_000001": {"dt": 0.25},
    }  # fmt: skip


def test_cat_gives_the_bytes(sample: Path) -> None:
    command = [sys.executable, "-m", "h5scene", "cat"]
    for name, content in (("src/plume.py", b"print('plume')\n"), ("log", b"\x00\xff")):
        done = subprocess.run([*command, f"runs.h5/0/{name}"], capture_output=True, check=True)
        assert (done.stdout, done.stderr) == (content, b"")


def test_diff(capsys: Capture) -> None:
    assert run(["copy", "runs.h5", "other.h5"]) == 0
    capsys.readouterr()
    assert said(capsys, "diff", "runs.h5", "other.h5") == ""
    assert said(capsys, "diff", "runs.h5/0", "runs.h5/1") == ""
    with SceneFile("other.h5", "r+") as file:
        record = file.read_frame(SCENE, "density", 7)
        changed = record.values.copy()
        changed[1, 2, 3] += 0.5
        file.write_frame(7, {SCENE: {"density": centered(changed, "xyz")}})
        file.put_properties({SCENE: {"dt": 0.5, "new": 1}})
        file.remove_frames(SCENE, "smoke", [1])
        file.write_files({SCENE: {"log": b"other"}})
        file.put_times(2, {SCENE: 9.0})
        file.log_scalars(9, {SCENE: {"loss": [0.0]}})
        file.remove_scenes(["sim_000001"])
    assert run(["diff", "runs.h5", "other.h5"]) == 1
    printed = capsys.readouterr()
    assert printed.err == "9 differences\n"
    assert printed.out.splitlines() == [
        "sim_000001: the scene is only in the first",
        "sim_000000@new: the property is only in the second",
        "sim_000000@dt: 0.25 and 0.5",
        "sim_000000/density/7: the descriptions differ: boundary periodic and constant(value=0)",
        "sim_000000/density/7: 1 of 120 values differ, by up to 0.5 (0.0159 relative)",
        "sim_000000/smoke/1: the frame is only in the first",
        "sim_000000: the times of 2 differ",
        "sim_000000/curve loss: shapes (3, 2) and (4, 2)",
        "sim_000000/log: the files differ, of 2 and 5 bytes",
    ]
    assert run(["diff", "runs.h5", "other.h5", "-q"]) == 1
    assert capsys.readouterr().out == ""
    assert run(["diff", "runs.h5/0/density/7", "other.h5/0/density/7", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)["differences"]
    assert [row["kind"] for row in rows] == ["description", "values"]
    assert rows[1]["max_absolute"] == 0.5
    assert rows[1]["count"] == 1


@pytest.mark.parametrize("options", [(), ("--atol", "0.01"), ("--rtol", "0.5")])
@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i8", "<c8"])
def test_diff_of_large_frames_reads_them_in_parts(
    dtype: str, options: tuple[str, ...], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = np.random.default_rng(0)
    a = (numbers.normal(size=(12, 10, 8)) * 100).astype(dtype)
    b = a.copy()
    b[numbers.random(a.shape) < 0.1] += 1
    if a.dtype.kind == "f":
        a[3, 3], b[11, 9, 7] = np.nan, np.inf
        b[3, 3, :4], a[0, 0, 0], b[0, 0, 0] = np.nan, 0.0, -0.0
    for name, values in (("a", a), ("b", b)):
        with SceneFile(f"{name}.h5") as file:
            file.create_scene("s")
            file.write_frame(0, {"s": {"u": centered(values, "xyz"), "same": centered(3.0)}})
    whole = run(["diff", "a.h5", "b.h5", *options, "--json"]), capsys.readouterr()
    read: list[int] = []
    read_values = SceneFile.read_values

    def noted(self: SceneFile, *args: Any) -> Any:
        values = read_values(self, *args)
        read.append(values.nbytes)
        return values

    monkeypatch.setattr("h5scene.handling.comparing._PART_BYTES", 1000)
    monkeypatch.setattr("h5scene.handling.comparing._BLOCK_VALUES", 7)
    monkeypatch.setattr(SceneFile, "read_values", noted)
    assert (run(["diff", "a.h5", "b.h5", *options, "--json"]), capsys.readouterr()) == whole
    assert max(read) <= 1000
    assert sum(read) == a.nbytes + b.nbytes


def test_diff_with_tolerance(capsys: Capture) -> None:
    with SceneFile("a.h5") as file:
        file.create_scene("s")
        nan = [1.0, np.nan, 0.0, np.inf]
        file.write_frame(0, {"s": {"u": centered(np.array(nan, np.float32), "x")}})
        nan = [1.0001, np.nan, -0.0, np.inf]
        file.write_frame(1, {"s": {"u": centered(np.array(nan, np.float64), "x")}})
    a, b = "a.h5/s/u/0", "a.h5/s/u/1"
    assert run(["diff", a, b]) == 1
    assert capsys.readouterr().out == "dtypes float32 and float64\n"
    assert run(["diff", a, b, "--rtol", "1e-3"]) == 0
    assert run(["diff", a, b, "--atol", "1e-3"]) == 0
    assert run(["diff", a, b, "--rtol", "1e-5"]) == 1
    assert capsys.readouterr().out == "1 of 4 values differ, by up to 0.0001 (0.0001 relative)\n"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("runs.h5", "none.h5"),
        ("runs.h5", "runs.h5/0"),
        ("runs.h5/9", "runs.h5/0"),
        ("runs.h5/0/none", "runs.h5/0/smoke"),
        ("runs.h5/0/smoke/9", "runs.h5/0/smoke/1"),
        ("runs.h5/0/smoke/x", "runs.h5/0/smoke/1"),
    ],
)
def test_diff_of_what_cannot_be_compared(a: str, b: str, capsys: Capture) -> None:
    assert run(["diff", a, b]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("h5scene: ")
    assert printed.err.count("\n") == 1


def test_curves(capsys: Capture) -> None:
    lines = said(capsys, "curves", "runs.h5/0").splitlines()
    assert lines[1].split() == [SCENE, "loss", "3", "0–2", "0.333333", "█▃▁"]
    assert lines[2].split() == [SCENE, "u", "3", "0–2", "1,", "2", "▁▁▁"]
    found = said_json(capsys, "curves", "runs.h5", "loss")
    assert found["sim_000001"]["loss"] == {"steps": [0, 1, 2], "values": [1.0, 0.5, 1 / 3]}


def test_boundaries_in_words() -> None:
    sides = {"x": {"type": "constant", "value": 0}, "y+": {"type": "zero-gradient"}}
    mixed = {"type": "mixed", "sides": sides}
    assert boundary_text(mixed) == "x: 0, y+: zero-gradient"
    both = {"type": "normal-tangential", "normal": {"type": "periodic"}, "tangential": mixed}
    assert boundary_text(both) == (
        "normal-tangential (normal: periodic, tangential: x: 0, y+: zero-gradient)"
    )


def test_looking_does_not_import_phiflow() -> None:
    commands = [
        ["ls", "runs.h5"], ["ls", "runs.h5/0/smoke"], ["info", "runs.h5"], ["info", "runs.h5/0"],
        ["info", "runs.h5/0/smoke"], ["get", "runs.h5"], ["curves", "runs.h5"],
        ["diff", "runs.h5", "runs.h5"], ["set", "runs.h5/0", "a=1"], ["repack", "runs.h5"],
        ["copy", "runs.h5", "b.h5"], ["split", "runs.h5", "out"], ["rm", "b.h5/0", "-y"],
    ]  # fmt: skip
    program = (
        f"import sys; from h5scene.cli import run\nfor c in {commands!r}: assert run(c) == 0, c\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"phi", "phiml", "matplotlib"} & set(done.stderr.split())


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize(
    "arguments",
    [["ls", "runs.h5"], ["info", "runs.h5/0"], ["info", "runs.h5/0/smoke"], ["curves", "runs.h5"],
     ["get", "runs.h5"], ["ls", "long.h5"]],
    ids=" ".join,
)  # fmt: skip
def test_lines_fit_the_terminal(arguments: list[str], columns: int) -> None:
    with SceneFile("long.h5") as file:
        file.create_scene("a_scene_with_a_rather_long_name_" * 2)
        name = "a_field_with_a_rather_long_name_" * 2
        file.write_frame(0, {"a_scene_with_a_rather_long_name_" * 2: {name: centered()}})
    status, printed = on_terminal(arguments, columns)
    assert status == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", printed).split("\n")
    assert max(map(cell_len, lines)) <= columns
    if arguments == ["ls", "long.h5"]:
        assert ("…" in printed) == (columns == 80)


def test_pictures_have_colours_on_a_terminal() -> None:
    arguments = ["info", "runs.h5/0/smoke"]
    _, printed = on_terminal(arguments, 80)
    assert "\x1b[48;2;" in printed
    assert "▀" in printed
    assert printed.rstrip("\n").endswith("\x1b[0m")
    _, plain = on_terminal(arguments, 80, NO_COLOR="1")
    assert "▀" not in plain
