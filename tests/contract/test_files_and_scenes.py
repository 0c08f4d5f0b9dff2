"""Source files kept with a scene; making, removing and renaming scenes."""

from __future__ import annotations

import json
import re
import runpy
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import phi
import pytest

from tests.contract.fields import constant, value_of
from tests.contract.implementations import Implementation

SCRIPT = "plume.py"


def run_script(implementation: Implementation, directory: Path, text: str, **names: Any) -> Any:
    """Runs a script that a user could have written, and returns what it calls `result`."""
    script = directory / SCRIPT
    script.write_text(text)
    names = {"Scene": implementation.Scene, "parent": implementation.parent, **names}
    return runpy.run_path(str(script), init_globals=names)["result"]


# --- the calling script ---------------------------------------------------------------------------


def test_create_copies_the_calling_script(implementation: Implementation, tmp_path: Path) -> None:
    text = "# a plume, 200 m³\nresult = Scene.create(parent)\n"
    scene = run_script(implementation, tmp_path, text)
    files = implementation.files(scene)
    assert sorted(files) == ["src/context.json", f"src/{SCRIPT}"]
    assert files[f"src/{SCRIPT}"] == text.encode()


def test_context_json_says_what_ran(
    implementation: Implementation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["plume.py", "--steps", "10"])
    scene = run_script(implementation, tmp_path, "result = Scene.create(parent)")
    context = json.loads(implementation.files(scene)["src/context.json"])
    assert context["phi_version"] == phi.__version__
    assert context["argv"][1:] == ["--steps", "10"]
    assert Path(context["argv"][0]).name == SCRIPT


def test_create_can_leave_the_script_alone(implementation: Implementation, tmp_path: Path) -> None:
    text = "result = Scene.create(parent, copy_calling_script=False)"
    scene = run_script(implementation, tmp_path, text)
    assert implementation.files(scene) == {}


def test_create_copies_the_script_to_every_scene(
    implementation: Implementation, tmp_path: Path
) -> None:
    scenes = run_script(implementation, tmp_path, "result = Scene.create(parent, batch=2)")
    for single in scenes.batch:
        assert sorted(implementation.files(single)) == ["src/context.json", f"src/{SCRIPT}"]


def test_copy_calling_script_by_hand(implementation: Implementation, tmp_path: Path) -> None:
    scene = implementation.create()
    text = "scene.copy_calling_script()\nresult = scene"
    run_script(implementation, tmp_path, text, scene=scene)
    assert implementation.files(scene)[f"src/{SCRIPT}"] == text.encode()
    assert "src/context.json" in implementation.files(scene)


def test_copy_calling_script_without_context(
    implementation: Implementation, tmp_path: Path
) -> None:
    scene = implementation.create()
    text = "result = scene.copy_calling_script(include_context_information=False)"
    run_script(implementation, tmp_path, text, scene=scene)
    assert sorted(implementation.files(scene)) == [f"src/{SCRIPT}"]


def test_copy_calling_script_with_all_callers(
    implementation: Implementation, tmp_path: Path
) -> None:
    scene = implementation.create()
    text = "result = scene.copy_calling_script(full_trace=True)"
    run_script(implementation, tmp_path, text, scene=scene)
    files = implementation.files(scene)
    assert f"src/{SCRIPT}" in files
    assert files[f"src/{Path(__file__).name}"] == Path(__file__).read_bytes()
    # The code of the implementation is not the user's.
    assert "src/_scene.py" not in files
    assert "src/scene.py" not in files


def test_copying_the_script_twice_keeps_the_newer(
    implementation: Implementation, tmp_path: Path
) -> None:
    scene = implementation.create()
    for text in (
        "result = scene.copy_calling_script()",
        "# new\nresult = scene.copy_calling_script()",
    ):
        run_script(implementation, tmp_path, text, scene=scene)
        assert implementation.files(scene)[f"src/{SCRIPT}"] == text.encode()


def test_a_script_that_is_gone_is_a_warning(implementation: Implementation) -> None:
    code = compile("result = Scene.create(parent)", "/no/such/dir/deleted.py", "exec")
    names: dict[str, Any] = {"Scene": implementation.Scene, "parent": implementation.parent}
    with pytest.warns(RuntimeWarning, match=r"deleted\.py"):
        exec(code, names)  # noqa: S102  # a script without a file
    names["result"].write(f=constant(1))
    assert value_of(names["result"].read("f")) == 1


def test_a_notebook_gives_its_cells(
    implementation: Implementation, monkeypatch: pytest.MonkeyPatch
) -> None:
    ipython = types.ModuleType("IPython")
    shell = types.SimpleNamespace(user_ns={"In": ["", "x = 1", "Scene.create(parent)"]})
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]  # a stand-in for a package
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    code = compile("result = Scene.create(parent)", "<ipython-input-2-abc>", "exec")
    names: dict[str, Any] = {"Scene": implementation.Scene, "parent": implementation.parent}
    exec(code, names)  # noqa: S102  # a cell of a notebook
    text = implementation.files(names["result"])["src/ipython.py"].decode()
    assert re.findall(r"#%% In\[(\d)\]\n(.*)", text) == [
        ("0", ""),
        ("1", "x = 1"),
        ("2", "Scene.create(parent)"),
    ]


# --- other source files ---------------------------------------------------------------------------


def with_src(scene: Any) -> Any:
    """Returns the scene with its folder `src`, which PhiFlow does not make by itself."""
    scene.copy_calling_script(include_context_information=False)
    return scene


def test_copy_src(implementation: Implementation, tmp_path: Path) -> None:
    scenes = with_src(implementation.create(batch=2))
    helper = tmp_path / "helper.py"
    helper.write_bytes(b"x = 1\r\n\xff")
    scenes.copy_src(str(helper))
    scenes.copy_src(script_path=str(helper), only_external=True)
    for single in scenes.batch:
        assert implementation.files(single)["src/helper.py"] == b"x = 1\r\n\xff"


def test_copy_src_leaves_phiflow_itself_out(implementation: Implementation) -> None:
    scene = with_src(implementation.create())
    scene.copy_src(phi.__file__)
    assert "src/__init__.py" not in implementation.files(scene)
    scene.copy_src(phi.__file__, only_external=False)
    assert implementation.files(scene)["src/__init__.py"] == Path(phi.__file__).read_bytes()


def test_copy_src_of_a_missing_file_is_an_os_error(
    implementation: Implementation, tmp_path: Path
) -> None:
    scene = with_src(implementation.create())
    before = implementation.files(scene)
    with pytest.raises(FileNotFoundError):
        scene.copy_src(str(tmp_path / "missing.py"))
    assert implementation.files(scene) == before


def test_copy_src_text(implementation: Implementation) -> None:
    scenes = with_src(implementation.create(batch=2))
    scenes.copy_src_text("notes.txt", "Δp = 3\nsecond line\n")
    scenes.copy_src_text(filename="notes.txt", text="Δp = 4\n")
    for single in scenes.batch:
        assert implementation.files(single)["src/notes.txt"] == "Δp = 4\n".encode()


# --- subpath --------------------------------------------------------------------------------------


def test_subpath(scene: Any) -> None:
    assert scene.subpath("src") == f"{scene.path}/src"
    assert scene.subpath("a/b.txt") == f"{scene.path}/a/b.txt"
    assert scene.subpath("images", create=True) == f"{scene.path}/images"
    assert scene.subpath("x/y.txt", create_parent=True) == f"{scene.path}/x/y.txt"
    assert scene.subpath(name="src", create=True, create_parent=True) == f"{scene.path}/src"
    assert scene.fieldnames == ()


def test_subpath_of_a_batch(scenes: Any) -> None:
    assert list(scenes.subpath("a.txt")) == [f"{path}/a.txt" for path in scenes.paths]


# --- mkdir, remove, rename ------------------------------------------------------------------------


def test_mkdir_makes_a_removed_scene_again(implementation: Implementation) -> None:
    scene = implementation.create()
    scene.write(f=constant(1))
    scene.remove()
    assert scene.mkdir() is None
    assert implementation.scene_names() == ["sim_000000"]
    assert scene.fieldnames == ()
    scene.write(f=constant(2))
    assert value_of(scene.read("f")) == 2


def test_mkdir_leaves_an_existing_scene_alone(scenes: Any) -> None:
    scenes.write(f=constant(1))
    scenes.batch[1].remove()
    scenes.mkdir()
    assert [single.fieldnames for single in scenes.batch] == [("f",), (), ("f",)]


def test_remove_takes_everything_away(implementation: Implementation) -> None:
    first, second = implementation.create(), implementation.create()
    for scene in (first, second):
        scene.write(f=constant(1))
        scene.put_property("a", 1)
    assert first.remove() is None
    assert implementation.scene_names() == ["sim_000001"]
    assert implementation.Scene.list(implementation.parent) == (second,)
    with pytest.raises(OSError, match="sim_000000"):
        implementation.Scene.at(first.path)
    assert value_of(second.read("f")) == 1


def test_remove_of_a_batch(implementation: Implementation) -> None:
    scenes = implementation.create(a=2, b=2)
    scenes.a[0].remove()
    assert implementation.scene_names() == ["sim_000002", "sim_000003"]
    scenes.remove()
    assert implementation.scene_names() == []
    assert implementation.Scene.list(implementation.parent) == ()


def test_remove_twice_does_nothing(implementation: Implementation) -> None:
    scene = implementation.create()
    scene.remove()
    scene.remove()
    assert implementation.scene_names() == []


def test_a_new_scene_under_an_old_name_is_empty(implementation: Implementation) -> None:
    old = implementation.create()
    old.write(f=constant(1), frame=3)
    old.put_property("a", 1)
    old.copy_calling_script()
    old.remove()
    new = implementation.create()
    assert new.path == old.path
    assert (new.fieldnames, new.frames, new.properties) == ((), (), {})
    assert implementation.files(new) == {}


# PhiFlow prints the two paths.
def test_rename(implementation: Implementation) -> None:
    scene = implementation.create()
    scene.write(f=constant(1), frame=3)
    scene.put_property("a", 1)
    scene.copy_calling_script()
    files = implementation.files(scene)
    scene.rename("best")
    assert implementation.scene_names() == ["best"]
    renamed = implementation.Scene.at(implementation.path("best"))
    assert value_of(renamed.read("f", frame=3)) == 1
    assert renamed.properties == {"a": 1}
    assert implementation.files(renamed) == files
    with pytest.raises(OSError, match="sim_000000"):
        implementation.Scene.at(implementation.path("sim_000000"))


def test_renamed_scenes_are_listed_as_others(implementation: Implementation) -> None:
    implementation.create().rename("best")
    implementation.create()
    scene_class = implementation.Scene
    assert [s.path for s in scene_class.list(implementation.parent)] == [
        implementation.path("sim_000000")
    ]
    assert {s.path for s in scene_class.list(implementation.parent, include_other=True)} == {
        implementation.path("best"),
        implementation.path("sim_000000"),
    }


def test_nothing_warns(implementation: Implementation, tmp_path: Path) -> None:
    """A script runs under `-W error`."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scene = run_script(implementation, tmp_path, "result = Scene.create(parent)")
        scene.write(f=constant(1))
        scene.put_properties(a=1)
        scene.read("f")
        scene.remove()
