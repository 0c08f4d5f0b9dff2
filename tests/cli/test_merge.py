"""`h5scene merge`: what it prints, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from h5scene import SceneFile
from h5scene.cli import run
from tests.merging import write


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("a.h5", "sim_000000", "sim_000001")
    write("b.h5", "sim_000001", value=2)


def test_files_of_different_scenes(capsys: pytest.CaptureFixture[str]) -> None:
    write("c.h5", "sim_000002")
    assert run(["merge", "a.h5", "c.h5", "-o", "all.h5"]) == 0
    assert capsys.readouterr().out.startswith("Merged 3 scenes of 2 files into all.h5, ")
    assert run(["merge", "a.h5", "c.h5", "-o", "all.h5", "--move"]) == 0
    out = capsys.readouterr().out
    assert "Merged 0 scenes" in out
    assert out.endswith("; 3 there already; verified; 2 files removed\n")
    assert not Path("a.h5").exists()


def test_names_that_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", "a.h5", "b.h5", "-o", "all.h5"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "  sim_000001 is in a.h5 and in b.h5\n" in printed.err
    assert "--renumber" in printed.err
    assert not Path("all.h5").exists()


def test_new_numbers_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", "a.h5", "b.h5", "-o", "all.h5", "--renumber", "--verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "a.h5/sim_000000 -> sim_000000",
        "a.h5/sim_000001 -> sim_000001",
        "b.h5/sim_000001 -> sim_000002",
    ]
    assert lines[3].endswith("; verified")


def test_problems_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.h5").write_text("text")
    assert run(["merge", "text.h5", "a.h5", "-o", "all.h5"]) == 1
    printed = capsys.readouterr()
    assert "text.h5: " in printed.err
    assert "is not an HDF5 file" in printed.err
    assert printed.out.endswith("; 1 problem\n")
    with SceneFile("all.h5", "r") as file:
        assert file.scenes == ("sim_000000", "sim_000001")


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.h5").write_text("text")
    assert run(["merge", "b.h5", "text.h5", "-o", "all.h5", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said.pop("seconds") > 0
    assert said.pop("stored_bytes") == 2 * 4 * 4 * 4
    assert said.pop("problems")[0]["path"] == "text.h5"
    assert said == {
        "output": "all.h5",
        "scenes": [
            {"file": "b.h5", "scene": "sim_000001", "new_name": "sim_000001", "already": False}
        ],
        "removed": [],
    }


@pytest.mark.parametrize(
    "arguments", [["-o", "all.h5"], ["a.h5"], ["none.h5", "-o", "all.h5"], ["a.h5", "-o", "."]]
)
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", *arguments]) == 2
    assert "Usage" in capsys.readouterr().err
