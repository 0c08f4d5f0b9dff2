"""`Scene.resume`: a killed job goes on, and no two histories are mixed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import pytest
from phi.field import CenteredGrid
from phiml.math import batch, wrap

from h5scene import Scene, SceneFile, compare
from h5scene.errors import FrameNotFoundError, InvalidInputError, SceneNotFoundError
from h5scene.interop.source import SourceFile
from h5scene.interop.statistics import field_statistics
from h5scene.store import close_all

ROOT = Path(__file__).parents[2]


def grid(value: float) -> Any:
    return CenteredGrid(value, 0, x=4, y=3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a scene of a job that was killed after frame 7."""
    scene = Scene.create(tmp_path / "runs")
    scene.put_property("dt", 0.5)
    scene.write(obstacle=grid(1), frame=0)
    for frame in range(8):
        scene.write(smoke=grid(frame), pressure=grid(frame), frame=frame)
        scene.put_time(frame, frame / 2)
        scene.log_scalars(frame, loss=float(frame))
    return tmp_path / "runs.h5"


def test_what_is_later_is_gone(path: Path) -> None:
    scene = Scene.resume(path, 0, frame=5)
    assert scene.frames == (0, 1, 2, 3, 4, 5)
    assert list(scene.times) == [0, 1, 2, 3, 4, 5]
    assert scene.curves["loss"].iteration.size == 6
    assert scene.properties["dt"] == 0.5
    assert scene.fieldnames == ("obstacle", "pressure", "smoke")
    assert float(scene.read("smoke", frame=5).values.mean) == 5
    with h5py.File(path) as file:
        assert list(file["sim_000000/smoke"]) == [f"{frame:06}" for frame in range(6)]


def test_by_default_the_last_complete_frame(path: Path) -> None:
    scene = Scene.at(path, 0)
    scene.write(smoke=grid(8), frame=8)
    scene.log_scalars(8, loss=8.0)
    scene = Scene.resume(path, 0)
    assert scene.frames == tuple(range(8))
    assert scene.curves["loss"].iteration.size == 8


def test_fields_at_other_intervals(path: Path) -> None:
    scene = Scene.at(path, 0)
    for frame in (0, 3, 6):
        scene.write(probe=grid(frame), frame=frame)
    assert Scene.resume(path, 0).frames == tuple(range(7))


def test_a_field_that_began_later_is_gone(path: Path) -> None:
    Scene.at(path, 0).write(late=grid(7), frame=7)
    assert Scene.resume(path, 0, frame=6).fieldnames == ("obstacle", "pressure", "smoke")


def test_nothing_changes_when_nothing_is_later(path: Path) -> None:
    before = path.read_bytes()
    Scene.resume(path, 0)
    assert path.read_bytes() == before


def test_a_scene_without_frames(tmp_path: Path) -> None:
    scene = Scene.create(tmp_path / "runs")
    scene.log_scalars(0, loss=1.0)
    scene.put_time(0, 0.0)
    scene.put_property("dt", 1)
    scene = Scene.resume(tmp_path / "runs", 0)
    assert (scene.frames, scene.times) == ((), {})
    assert scene.curves["loss"].iteration.size == 0
    assert scene.properties["dt"] == 1


def test_batches_go_on_together(tmp_path: Path) -> None:
    scenes = Scene.create(tmp_path / "runs", batch(b=2))
    for frame in range(5):
        scenes.write(smoke=grid(frame), frame=frame)
    scenes.b[1].write(smoke=grid(5), frame=5)
    resumed = Scene.resume(tmp_path / "runs", wrap([0, 1], batch("b")))
    assert resumed.b[1].frames == tuple(range(5))
    other = Scene.create(tmp_path / "other", batch(b=1))
    other.write(smoke=grid(0), frame=0)
    other.write(smoke=grid(1), frame=1)
    both = Scene.resume([str(resumed.b[0].path), str(other.b[0].path)])
    assert both.frames == (0, 1)
    assert resumed.b[1].frames == tuple(range(5))


def test_what_cannot_be_resumed(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(SceneNotFoundError):
        Scene.resume(path, 1)
    with pytest.raises(FrameNotFoundError, match=r"frame 9 .* the last one is 7"):
        Scene.resume(path, 0, frame=9)
    with pytest.raises(FrameNotFoundError):
        Scene.resume(path, 0, frame=-1)
    scene = Scene.at(path, 0)
    with pytest.raises(InvalidInputError):
        Scene.resume(scene, 0)
    assert path.read_bytes() == before
    for frame in (20, 21):
        scene.write(late=grid(1), frame=frame)
    with pytest.raises(FrameNotFoundError, match="no frame is stored for all fields"):
        Scene.resume(path, 0)


JOB = """
import os, sys
from phi.field import CenteredGrid
from h5scene import Scene
from h5scene.interop.source import SourceFile
from h5scene.interop.statistics import field_statistics
path, moment, background = sys.argv[1:]
frames = Scene.at(path, 0).frames
checkpoint = frames[-1] - frames[-1] % 5 if frames else None
with Scene.resume(path, 0, frame=checkpoint, background=background == "background") as scene:
    scene.write_file("src/job.py", "the script of the job")
    first = scene.frames[-1] + 1 if scene.frames else 0
    value = scene.read("smoke", frame=first - 1).values.mean if first else 0.0
    for frame in range(first, 30):
        scene.put_time(frame, frame / 2)
        scene.log_scalars(frame, loss=float(frame))
        if moment == str(frame):
            field_statistics([(SourceFile(path), "sim_000000", None)], ["smoke"])
            os.kill(os.getpid(), 9)
        value = value + 0.5
        # After the checkpoint from which the next job goes on, another history.
        other = 0.25 if moment and frame > int(moment) // 5 * 5 else 0
        scene.write(smoke=CenteredGrid(value + other, 0, x=4, y=3), frame=frame)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are not killed like this")
@pytest.mark.parametrize("how", ["at once", "background"])
def test_a_job_that_is_killed_and_goes_on(tmp_path: Path, how: str) -> None:
    paths = [tmp_path / "killed.h5", tmp_path / "whole.h5"]
    for path in paths:
        Scene.create(path).put_property("dt", 0.5)
    close_all()

    def run(path: Path, moment: str) -> int:
        command = [sys.executable, "-c", JOB, str(path), moment, how]
        return subprocess.run(command, cwd=ROOT, check=False, timeout=120).returncode

    for moment in (7, 19):
        assert run(paths[0], str(moment)) == -signal.SIGKILL
        with SceneFile(paths[0], "r") as killed:
            assert killed.frames("sim_000000")["smoke"] == tuple(range(moment))
            assert killed.read_values("sim_000000", "smoke", moment - 1).max() % 0.5 == 0.25
    for path in paths:
        assert run(path, "") == 0
    assert compare(*paths) == ()
    with SceneFile(paths[0], "r") as killed:
        assert killed.frames("sim_000000") == {"smoke": tuple(range(30))}
        assert killed.curves("sim_000000")["loss"].steps.tolist() == list(range(30))
        assert set(killed.times("sim_000000")) == set(range(30))
        assert killed.read_file("sim_000000", "src/job.py") == b"the script of the job"
    found = [
        field_statistics([(SourceFile(path), "sim_000000", None)], ["smoke"]) for path in paths
    ]
    assert found[0] == found[1]
    assert found[0]["smoke"].min == 0.5


LOSING_JOB = """
import os, sys
from phi.field import CenteredGrid
from h5scene import Scene
scene = Scene.resume(sys.argv[1], 0, background=True)
first = scene.frames[-1] + 1 if scene.frames else 0
value = scene.read("smoke", frame=first - 1).values.mean if first else 0.0
for frame in range(first, 30):
    scene.log_scalars(frame, loss=float(frame))
    value = value + 0.5
    scene.write(smoke=CenteredGrid(value, 0, x=4, y=3), frame=frame)
    if sys.argv[2] == str(frame):
        os.kill(os.getpid(), 9)  # what waits is lost
scene.flush()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are not killed like this")
def test_what_waited_when_the_job_was_killed_is_done_again(tmp_path: Path) -> None:
    paths = [tmp_path / "killed.h5", tmp_path / "whole.h5"]
    for path in paths:
        Scene.create(path)
    close_all()
    for path, moment in ((paths[0], "17"), (paths[0], ""), (paths[1], "")):
        command = [sys.executable, "-c", LOSING_JOB, str(path), moment]
        done = subprocess.run(command, cwd=ROOT, check=False, timeout=120)
        assert done.returncode == (-signal.SIGKILL if moment else 0)
    assert compare(*paths) == ()
    with SceneFile(paths[0], "r") as killed:
        assert killed.frames("sim_000000") == {"smoke": tuple(range(30))}
