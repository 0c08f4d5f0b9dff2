"""Known differences: scenes and their files, each shown on both sides."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import pytest
from phi.vis import load_scalars
from phi.vis._log import SceneLog
from phiml import math
from phiml.math import batch, wrap

from h5scene.errors import AlreadyExistsError, InvalidInputError, SceneNotFoundError
from tests.contract.fields import assert_same_tensor, constant, value_of
from tests.contract.implementations import H5Scene, Implementation, PhiFlow, same_contents
from tests.contract.known_differences import shows


def names(scenes: Any) -> list[str]:
    """Returns the names of listed scenes."""
    return [scene.path.rpartition("/")[2] for scene in scenes]


@shows("siblings")
class TestSiblings:
    def test_phi(self, phi: PhiFlow) -> None:
        phi.create()
        (phi.on_disk / "sim_backup").mkdir()
        assert names(phi.Scene.list(phi.parent)) == ["sim_000000", "sim_backup"]
        with pytest.raises(ValueError, match="backup"):
            phi.create()

    def test_h5scene(self, h5scene: H5Scene) -> None:
        h5scene.create().rename("sim_backup")
        h5scene.create().rename("sim_000000_old")
        h5scene.create().rename("sim_-1")
        assert names([h5scene.create()]) == ["sim_000000"]
        assert names([h5scene.create()]) == ["sim_000001"]
        scene_class = h5scene.Scene
        assert names(scene_class.list(h5scene.parent)) == ["sim_000000", "sim_000001"]
        assert names(scene_class.list(h5scene.parent, include_other=True)) == [
            "sim_000000",
            "sim_000001",
            "sim_-1",
            "sim_000000_old",
            "sim_backup",
        ]
        assert names([scene_class.at(h5scene.parent, -1)]) == ["sim_000001"]

    def test_h5scene_passes_over_what_is_no_scene(self, h5scene: H5Scene) -> None:
        h5scene.create()
        close_files()
        with h5py.File(h5scene.on_disk, "r+") as file:
            file.create_group("sim_000007").attrs["made_by"] = "somebody else"
            file.create_dataset("notes", data=[1, 2])
        scene_class = h5scene.Scene
        assert names(scene_class.list(h5scene.parent, include_other=True)) == ["sim_000000"]
        with pytest.raises(SceneNotFoundError):
            scene_class.at(h5scene.parent, 7)
        # Its number is taken all the same.
        assert names([h5scene.create()]) == ["sim_000008"]


def close_files() -> None:
    """Lets go of all scene files, so that plain h5py may write."""
    from h5scene.store import close_all

    close_all()


@shows("series-by-prefix")
class TestSeriesByPrefix:
    def test_phi(self, phi: PhiFlow) -> None:
        phi.create(name="a_b")
        with pytest.raises(ValueError, match="b_000000"):
            phi.create(name="a")

    def test_h5scene(self, h5scene: H5Scene) -> None:
        h5scene.create(name="a_b")
        assert names([h5scene.create(name="a"), h5scene.create(name="a_b")]) == [
            "a_000000",
            "a_b_000001",
        ]
        assert names(h5scene.Scene.list(h5scene.parent, name="a")) == ["a_000000"]


@shows("order-of-scenes")
class TestOrderOfScenes:
    def test_phi(self, phi: PhiFlow) -> None:
        phi.create()
        shutil.move(phi.path("sim_000000"), phi.path("sim_999999"))
        phi.create()
        assert names(phi.Scene.list(phi.parent)) == ["sim_1000000", "sim_999999"]
        assert names([phi.Scene.at(phi.parent, -1)]) == ["sim_999999"]

    def test_h5scene(self, h5scene: H5Scene) -> None:
        h5scene.create().rename("sim_999999")
        h5scene.create()
        assert names(h5scene.Scene.list(h5scene.parent)) == ["sim_999999", "sim_1000000"]
        assert names([h5scene.Scene.at(h5scene.parent, -1)]) == ["sim_1000000"]
        assert names([h5scene.Scene.at(h5scene.parent, 1_000_000)]) == ["sim_1000000"]


@shows("two-processes-create")
class TestTwoProcessesCreate:
    def test_phi(self, phi: PhiFlow, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second process has listed the directory before the first one created its scene."""
        phi.on_disk.mkdir()
        monkeypatch.setattr(os, "listdir", lambda path: [])
        assert phi.create() == phi.create()
        monkeypatch.undo()
        assert phi.scene_names() == ["sim_000000"]

    def test_h5scene(self, h5scene: H5Scene) -> None:
        script = (
            "from h5scene import SceneFile\n"
            f"with SceneFile({h5scene.parent!r}) as file:\n"
            "    print(*(file.create_scenes('sim', 2) for _ in range(10)))"
        )
        command = [sys.executable, "-c", script]
        children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        created: list[str] = []
        for child in children:
            created += re.findall(r"sim_\d+", child.communicate()[0])
            assert child.returncode == 0
        assert sorted(created) == [f"sim_{i:06d}" for i in range(60)] == h5scene.scene_names()


@shows("missing-negative-id")
class TestMissingNegativeId:
    def test_phi(self, phi: PhiFlow) -> None:
        phi.create()
        with pytest.raises(AssertionError):
            phi.Scene.at(phi.parent, -2)

    def test_h5scene(self, h5scene: H5Scene) -> None:
        with pytest.raises(SceneNotFoundError):
            h5scene.Scene.at(h5scene.parent, -1)
        assert not h5scene.on_disk.exists()
        h5scene.create()
        with pytest.raises(SceneNotFoundError, match=r"-2.* 1 scene"):
            h5scene.Scene.at(h5scene.parent, -2)

    def test_h5scene_of_any_kind_of_number(self, h5scene: H5Scene) -> None:
        h5scene.create(b=3)
        found = h5scene.Scene.at(h5scene.parent, wrap([-1, 0], batch("q")))
        assert names(found.q) == ["sim_000002", "sim_000000"]


@shows("scene-not-found-message")
class TestSceneNotFoundMessage:
    def test_phi(self, phi: PhiFlow) -> None:
        phi.create()
        with pytest.raises(OSError, match="There is no scene at") as caught:
            phi.Scene.at(phi.parent, 7)
        assert not isinstance(caught.value, FileNotFoundError)

    def test_h5scene(self, h5scene: H5Scene) -> None:
        with pytest.raises(SceneNotFoundError, match=r"sim_000007.*data\.h5.*no such file"):
            h5scene.Scene.at(h5scene.parent, 7)
        h5scene.create()
        with pytest.raises(
            SceneNotFoundError, match=r"'sim_000007'.*data\.h5.*'sim_000000'"
        ) as caught:
            h5scene.Scene.at(h5scene.parent, 7)
        assert isinstance(caught.value, FileNotFoundError)
        assert caught.value.file == str(h5scene.on_disk)

    def test_h5scene_of_a_directory_of_phiflow(self, h5scene: H5Scene, phi: PhiFlow) -> None:
        phi.create()
        with pytest.raises(SceneNotFoundError, match="is a scene of PhiFlow; read it with"):
            h5scene.Scene.at(h5scene.parent, 0)


@shows("scene-and-id")
class TestSceneAndId:
    def test_phi(self, phi: PhiFlow) -> None:
        with pytest.raises(AssertionError, match="already a Scene"):
            phi.Scene.at(phi.create(), 1)

    def test_h5scene(self, h5scene: H5Scene) -> None:
        with pytest.raises(InvalidInputError, match=r"id=1.*is a scene already"):
            h5scene.Scene.at(h5scene.create(), 1)


@shows("path-of-batches")
class TestPathOfBatches:
    def test_phi(self, phi: PhiFlow) -> None:
        with pytest.raises(AssertionError):
            _ = phi.create(b=2).path

    def test_h5scene(self, h5scene: H5Scene) -> None:
        with pytest.raises(
            InvalidInputError, match="no single path; use paths, or slice the batch"
        ):
            _ = h5scene.create(b=2).path


@shows("hash")
class TestHash:
    def test_phi(self, phi: PhiFlow) -> None:
        with pytest.raises(TypeError, match="unhashable"):
            hash(phi.create())

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(b=2)
        one = scenes.b[0]
        assert hash(one) == hash(h5scene.Scene.at(h5scene.parent, 0))
        assert hash(scenes) == hash(h5scene.Scene.at(scenes.paths))
        assert {one: "a", scenes.b[1]: "b"}[h5scene.Scene.at(h5scene.parent, 1)] == "b"
        assert len({one, scenes, h5scene.Scene.at(one.path), scenes.b[0:2]}) == 2


@shows("names-of-dims")
class TestNamesOfDims:
    def test_phi(self, phi: PhiFlow) -> None:
        scenes = phi.create(times=2, compression=2)
        assert names([scenes.times[1].compression[0]]) == ["sim_000002"]

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(batch(compression=2), times=2)
        assert scenes.times == {}
        assert names([scenes[{"times": 1, "compression": 0}]]) == ["sim_000001"]
        with pytest.raises(InvalidInputError, match="compression must be"):
            h5scene.create(compression=2)

    def test_h5scene_has_no_other_names(self, h5scene: H5Scene, phi: PhiFlow) -> None:
        """Every new public name takes one from the dims; this is the list to keep short."""
        own = {name for name in dir(h5scene.Scene) if not name.startswith("_")}
        assert own - set(dir(phi.Scene)) == {
            "curves",
            "files",
            "flush",
            "lazy",
            "log_scalars",
            "put_time",
            "read_file",
            "remove_file",
            "remove_property",
            "resume",
            "times",
            "transaction",
            "write_file",
        }


@shows("equality-of-shapes")
class TestEqualityOfShapes:
    def test_phi(self, phi: PhiFlow) -> None:
        scenes = phi.create(b=3)
        with pytest.raises(math.IncompatibleShapes):
            _ = scenes == scenes.b[0]
        with pytest.raises(AssertionError):
            _ = scenes == scenes.b[:2]

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(b=3)
        for other in (scenes.b[0], scenes.b[:2], math.rename_dims(scenes, "b", batch("c"))):
            assert scenes != other
            assert other != scenes
        assert h5scene.create(b=1).b[:1] != h5scene.Scene.at(h5scene.parent, -1)
        assert (scenes == scenes.b[:3]) is True


@shows("rename-returns-the-scene")
class TestRenameReturnsTheScene:
    def test_phi(self, phi: PhiFlow, capsys: pytest.CaptureFixture[str]) -> None:
        assert phi.create().rename("best") is None
        assert capsys.readouterr().out.startswith("Renaming ")

    def test_h5scene(self, h5scene: H5Scene, capfd: pytest.CaptureFixture[str]) -> None:
        scene = h5scene.create()
        scene.write(f=constant(1))
        renamed = scene.rename("best")
        assert capfd.readouterr() == ("", "")
        assert isinstance(renamed, h5scene.Scene)
        assert renamed.path == h5scene.path("best")
        assert value_of(renamed.read("f")) == 1
        assert scene.path == h5scene.path("sim_000000")
        assert renamed.rename("best") == renamed


@shows("rename-to-an-existing-scene")
class TestRenameToAnExistingScene:
    def test_phi(self, phi: PhiFlow) -> None:
        scenes = phi.create(b=2)
        scenes.b[0].rename("sim_000001")
        assert phi.scene_names() == ["sim_000001"]
        assert (phi.on_disk / "sim_000001" / "sim_000000").is_dir()

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(b=2)
        scenes.write(f=constant(1))
        before = h5scene.contents()
        with pytest.raises(
            AlreadyExistsError, match=r"'sim_000000' to 'sim_000001'.*remove it first"
        ):
            scenes.b[0].rename("sim_000001")
        assert same_contents(before, h5scene.contents())


@shows("rename-of-batches")
class TestRenameOfBatches:
    def test_phi(self, phi: PhiFlow) -> None:
        phi.create(b=2).rename("best")
        assert phi.scene_names() == ["best"]
        assert (phi.on_disk / "best" / "sim_000001").is_dir()

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(b=2)
        with pytest.raises(InvalidInputError, match="2 scenes one name 'best'"):
            scenes.rename("best")
        assert h5scene.scene_names() == ["sim_000000", "sim_000001"]


@shows("rename-of-a-missing-scene")
class TestRenameOfAMissingScene:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.remove()
        assert scene.rename("best") is None

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        scene.remove()
        with pytest.raises(SceneNotFoundError, match="sim_000000"):
            scene.rename("best")


@shows("mkdir-makes-the-parent")
class TestMkdirMakesTheParent:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.Scene(phi.path("sim_000000"))
        with pytest.raises(FileNotFoundError):
            scene.mkdir()

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scenes = h5scene.Scene(wrap([h5scene.path("a"), h5scene.path("b")], batch("s")))
        scenes.mkdir()
        assert h5scene.scene_names() == ["a", "b"]
        scenes.write(f=constant(1))
        assert scenes.s[1].fieldnames == ("f",)


@shows("one-file")
class TestOneFile:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.write(f=constant(1))
        assert scene.path == f"{phi.parent}/sim_000000"
        assert (phi.on_disk / "sim_000000" / "f_000000.npz").is_file()

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        scene.write(f=constant(1))
        assert scene.path == f"{h5scene.parent}.h5/sim_000000"
        assert [path.name for path in h5scene.directory.glob("*.h5")] == ["data.h5"]
        assert not Path(h5scene.parent).exists()
        scene_class = h5scene.Scene
        spellings = [
            (h5scene.parent, 0),
            (h5scene.parent + ".h5", 0),
            (h5scene.parent + ".h5/sim_000000",),
            (h5scene.parent + "/sim_000000",),
            (h5scene.parent + "/sim_000000/",),
            (Path(h5scene.parent) / "sim_000000",),
        ]
        for spelling in spellings:
            found = scene_class.at(*spelling)
            assert found == scene
            assert found.path == scene.path
            assert value_of(found.read("f")) == 1
        for parent in (h5scene.parent, h5scene.parent + ".h5", Path(h5scene.parent)):
            assert scene_class.list(parent) == (scene,)

    @pytest.mark.parametrize("suffix", [".hdf5", ".hdf", ".he5"])
    def test_h5scene_with_another_suffix(self, h5scene: H5Scene, suffix: str) -> None:
        parent = h5scene.parent + suffix
        scene = h5scene.create(parent=parent)
        assert scene.path == f"{parent}/sim_000000"
        assert Path(parent).is_file()
        assert h5scene.Scene.list(parent) == (scene,)

    def test_h5scene_with_dots_in_the_name(self, h5scene: H5Scene) -> None:
        parent = h5scene.parent + "_v1.5"
        assert h5scene.create(parent=parent).path == f"{parent}.h5/sim_000000"


@shows("subpath")
class TestSubpath:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        images = scene.subpath("images", create=True)
        assert Path(images).is_dir()
        (Path(images) / "a.png").write_bytes(b"\x89PNG")

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        before = h5scene.contents()
        images = scene.subpath("images", create=True, create_parent=True)
        assert images == f"{scene.path}/images"
        assert same_contents(before, h5scene.contents())
        assert not Path(images).exists()
        scene.write_file("images/a.png", b"\x89PNG")
        assert scene.files == ("images/a.png",)
        assert scene.read_file("images/a.png") == b"\x89PNG"


@shows("src-without-folder")
class TestSrcWithoutFolder:
    def calls(self, scene: Any) -> list[Any]:
        return [
            lambda: scene.copy_src(__file__),
            lambda: scene.copy_src_text("notes.txt", "text"),
        ]

    def test_phi(self, phi: PhiFlow) -> None:
        for call in self.calls(phi.create()):
            with pytest.raises(FileNotFoundError):
                call()

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        for call in self.calls(scene):
            call()
        assert scene.files == ("src/notes.txt", f"src/{Path(__file__).name}")


@shows("phi-vis")
class TestPhiVis:
    rows = ((0, 4.5), (1, 2.25), (5, 0.5))

    def phi_curve(self, phi: PhiFlow) -> Any:
        scene = phi.create()
        log = SceneLog(scene)
        for step, value in self.rows:
            log.log_scalars(step, None, loss=value)
        for stream in (*log._scalar_streams.values(), log.file_handler):  # it has no close()
            stream.close()
        return load_scalars(scene, "loss")

    def test_phi(self, phi: PhiFlow) -> None:
        curve = self.phi_curve(phi)
        assert curve.vector["loss"].shape.get_size("iteration") == 3
        assert sorted(phi.files(phi.Scene.at(phi.parent, 0))) == ["info.log", "log_loss.txt"]

    def test_h5scene(self, h5scene: H5Scene, phi: PhiFlow) -> None:
        scene = h5scene.create()
        for step, value in self.rows:
            scene.log_scalars(step, loss=value)
        expected = self.phi_curve(phi)
        assert set(expected.shape.names) == {"iteration", "batch", "vector"}  # `batch` is of size 1
        assert_same_tensor(scene.curves["loss"], expected.batch[0], dtype=False)
        with pytest.raises(AssertionError):
            load_scalars(scene, "loss")


@shows("folder-named-phi")
class TestFolderNamedPhi:
    def run(self, implementation: Implementation, tmp_path: Path) -> Any:
        script = tmp_path / "phi" / "plume.py"
        script.parent.mkdir()
        script.write_text("result = Scene.create(parent)")
        globals_ = {"Scene": implementation.Scene, "parent": implementation.parent}
        return runpy.run_path(str(script), init_globals=globals_)["result"]

    def test_phi(self, phi: PhiFlow, tmp_path: Path) -> None:
        assert "src/plume.py" not in phi.files(self.run(phi, tmp_path))

    def test_h5scene(self, h5scene: H5Scene, tmp_path: Path) -> None:
        assert "src/plume.py" in h5scene.files(self.run(h5scene, tmp_path))
