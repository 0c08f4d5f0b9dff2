"""The job array of the README, with a stand-in for Slurm: plain processes, which are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from h5scene import Scene, SceneFile
from h5scene.store import close_all
from tests.crash.children import wait_until

ROOT = Path(__file__).parents[2]
TASKS = 2
WITHOUT_END = 10**9


def block(language: str, name: str) -> str:
    """Returns a block of code of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^```{language} {name}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def program(path: Path, text: str) -> None:
    """Writes a program."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


class Scheduler:
    """Runs the tasks of an array, each in a group of processes of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        programs = folder / "programs"
        programs.mkdir()
        # What is submitted, and requeued, is taken down; `scontrol` kills the job as Slurm does.
        program(programs / "sbatch", f'#!/bin/sh\necho "$@" >> {folder}/submitted\necho 77\n')
        program(
            programs / "scontrol",
            f'#!/bin/sh\necho "$@" >> {folder}/requeued\nkill -KILL 0\n',
        )
        program(
            programs / "python",
            f'#!/bin/sh\nexec {sys.executable} -W ignore "$@"\n',
        )
        program(
            programs / "h5scene",
            f'#!/bin/sh\nexec {sys.executable} -m h5scene "$@"\n',
        )
        paths = (str(programs), os.environ["PATH"])
        python_path = (str(ROOT), os.environ.get("PYTHONPATH", ""))
        self._environment = {
            **os.environ,
            "PATH": os.pathsep.join(paths),
            "PYTHONPATH": os.pathsep.join(filter(None, python_path)),
        }

    def run(self, *command: str) -> None:
        """Runs a command to its end."""
        subprocess.run(
            command, check=True, cwd=self.folder, env=self._environment, capture_output=True
        )

    def start(self, task: int) -> subprocess.Popen[bytes]:
        """Starts a task of the array."""
        variables = {
            "SLURM_ARRAY_JOB_ID": "77",
            "SLURM_ARRAY_TASK_ID": str(task),
            "SLURM_ARRAY_TASK_MAX": str(TASKS - 1),
        }
        return subprocess.Popen(
            ["bash", "job.sh"],
            cwd=self.folder,
            env={**self._environment, **variables},
            start_new_session=True,
        )

    def lines(self, name: str) -> list[str]:
        """Returns what was submitted, or requeued."""
        return (self.folder / name).read_text().splitlines()


def frames_of(path: Path, scene: str) -> tuple[int, ...]:
    """Returns which frames a job has written so far."""
    if not path.exists():
        return ()
    with SceneFile(path, "r") as file:
        return file.frames(scene).get("smoke", ()) if file.has_scene(scene) else ()


@pytest.mark.filterwarnings("ignore:phiml.math.vec_squared is deprecated:DeprecationWarning")
def test_jobs_that_are_killed_and_requeued_make_one_file(tmp_path: Path) -> None:
    from phi.flow import diffuse  # takes a second

    scheduler = Scheduler(tmp_path)
    simulate = block("python", "slurm")
    assert "1000" in simulate
    (tmp_path / "job.sh").write_text(block("bash", "job.sh"))
    (tmp_path / "submit.sh").write_text(block("bash", "submit.sh"))
    scheduler.run("bash", "submit.sh")
    array, merge = scheduler.lines("submitted")
    assert array == "--parsable job.sh"
    (command,) = re.findall("--dependency=afterok:77 --wrap=(.*)", merge)

    # They cannot come to their end in time.
    (tmp_path / "simulate.py").write_text(simulate.replace("1000", str(WITHOUT_END)))
    killed: dict[int, tuple[int, ...]] = {}
    for task, job in enumerate([scheduler.start(task) for task in range(TASKS)]):
        shard = tmp_path / f"all.h5.shards/{task}-of-{TASKS}.h5"
        scene = f"sim_{task:06d}"
        wait_until(lambda shard=shard, scene=scene: len(frames_of(shard, scene)) > 4, 120)
        os.kill(job.pid, signal.SIGUSR1)
        assert job.wait(60) == -signal.SIGKILL
        killed[task] = frames_of(shard, scene)
    assert sorted(scheduler.lines("requeued")) == ["requeue 77_0", "requeue 77_1"]

    end = max(frames[-1] for frames in killed.values()) + 4
    (tmp_path / "simulate.py").write_text(simulate.replace("1000", str(end)))
    for job in [scheduler.start(task) for task in range(TASKS)]:
        assert job.wait(120) == 0
    assert len(Scene.list(tmp_path / "all.h5")) == TASKS
    close_all()
    scheduler.run("bash", "-c", command)
    assert not (tmp_path / "all.h5.shards").exists()

    scenes = Scene.list(tmp_path / "all.h5")
    for task, scene in enumerate(scenes):
        assert scene.path.endswith(f"all.h5/sim_{task:06d}")
        assert scene.frames == tuple(range(end))
        assert scene.properties["diffusivity"] == 0.1 + task / 100
        with SceneFile(tmp_path / "all.h5", "r") as file:
            assert "src/simulate.py" in file.files(f"sim_{task:06d}")
        # One history, before and after the kill.
        for frame in range(killed[task][-1] - 2, end - 1):
            after = diffuse.explicit(scene.read("smoke", frame=frame), 0.1 + task / 100, dt=1)
            stored = scene.read("smoke", frame=frame + 1)
            assert stored.values.numpy("x,y").tobytes() == after.values.numpy("x,y").tobytes()
