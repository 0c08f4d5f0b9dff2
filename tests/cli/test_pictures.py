"""`h5scene plot`, `movie`, `curves -o`: that pictures show the fields, in one colour scale."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from h5scene import Scene
from h5scene.cli import run

pytest.importorskip("matplotlib")
pytest.importorskip("PIL", reason="movies need pillow")

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from phi.flow import (
    PERIODIC,
    ZERO_GRADIENT,
    Box,
    CenteredGrid,
    Field,
    PointCloud,
    StaggeredGrid,
    batch,
    instance,
    math,
    spatial,
    tensor,
    vec,
)
from phi.geom import build_mesh
from PIL import Image

from h5scene.errors import InvalidInputError
from h5scene.pictures.movies import write_movie
from h5scene.pictures.panels import Panel, draw, limits_of, panel
from h5scene.pictures.planes import View, drawn
from h5scene.store import close_all

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    yield
    plt.close("all")


def along(axis: str, **sizes: int) -> Any:
    """Returns a tensor of 0.5, 1.5, 2.5, … along one of its dims."""
    ramp = math.arange(spatial(axis), sizes[axis]) + 0.5
    return math.expand(ramp, spatial(**sizes))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A scene of all kinds of grids."""
    monkeypatch.chdir(tmp_path)
    scene = Scene.create("runs", copy_calling_script=False)
    bounds = Box(x=4, y=2)
    for frame in range(3):
        ramp = CenteredGrid(along("x", x=8, y=4) / 2, ZERO_GRADIENT, bounds) * (frame + 1)
        scene.write(smoke=ramp, velocity=StaggeredGrid(frame, 0, bounds, x=8, y=4), frame=frame)
        scene.put_time(frame, frame / 2)
        scene.log_scalars(frame, loss=1 / (frame + 1), speed=frame)
    scene.write(
        density=CenteredGrid(along("z", x=4, y=5, z=8) / 2, 0, Box(x=1, y=1, z=4)),
        flow=StaggeredGrid(1, 0, x=4, y=5, z=6),
        line=CenteredGrid(along("x", x=16), PERIODIC),
        frame=0,
    )
    return scene


def clims(figure: Any) -> list[tuple[float, float]]:
    """Returns the ends of the colour scales of all panels and colour bars."""
    return [
        artist.get_clim()
        for axes in figure.axes
        for artist in (*axes.images, *axes.collections)
        if artist.get_array() is not None
    ]


def titles(figure: Any) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_all_panels_of_a_field_have_one_scale(runs: Scene) -> None:
    rows = {
        name: [panel(runs.read(name, frame=i), name, i, i / 2, View()) for i in range(3)]
        for name in ("smoke", "velocity")
    }
    figure = draw(rows)
    low, high = 0.25, 3.75 * 3
    smoke = [clim for clim in clims(figure) if clim[1] > 5]
    assert smoke == [pytest.approx((low, high))] * 6  # three images, three colour bars
    bars = [
        axes._colorbar.mappable.get_clim() for axes in figure.axes if hasattr(axes, "_colorbar")
    ]
    assert [pytest.approx((low, high))] * 3 == bars[:3]
    assert titles(figure) == [
        f"{name}, frame {i}, t = {i / 2:g}" for name in rows for i in range(3)
    ]


def test_given_limits(runs: Scene) -> None:
    row = {"smoke": [panel(runs.read("smoke", frame=1), "smoke", 1, None, View())]}
    assert set(clims(draw(row, {"smoke": (-1.0, 9.0)}, is_row=True))) == {(-1.0, 9.0)}


def test_an_image_lies_as_the_field_does(runs: Scene) -> None:
    figure = draw({"smoke": [Panel(runs.read("smoke", frame=0), "")]})
    (image,) = (image for axes in figure.axes for image in axes.images)
    assert np.asarray(image.get_array()).shape == (4, 8)  # y, x
    assert image.get_extent() == [0, 4, 0, 2]


def test_slices_and_projections(runs: Scene) -> None:
    density = runs.read("density")
    middle, words = drawn(density, View())
    assert words == "z = 2"
    assert middle.values.numpy("x,y").tolist() == np.full((4, 5), 2.25).tolist()
    lowest, words = drawn(density, View(position=0.1))
    assert (float(lowest.values.max), words) == (0.25, "z = 0.1")
    assert float(drawn(density, View(position=4.0))[0].values.max) == 3.75
    most, words = drawn(density, View("z", projection="max"))
    assert (float(most.values.min), words) == (3.75, "max along z")
    side, words = drawn(density, View("x", projection="mean"))
    assert side.values.shape.names == ("y", "z")
    assert tuple(side.bounds.upper.numpy("vector")) == (1, 4)
    with pytest.raises(InvalidInputError, match="no axis 'w'"):
        drawn(density, View("w"))
    with pytest.raises(InvalidInputError, match=r"z = 9 is outside of the field"):
        drawn(density, View(position=9))
    flow, _ = drawn(runs.read("flow"), View())
    assert flow.values.shape.get_item_names("vector") == ("x", "y")


def test_points_batches_and_flags_are_drawn() -> None:
    points = PointCloud(vec(x=tensor([0.0, 1.0], instance("points")), y=0.5))
    runs_of = CenteredGrid(tensor([1.0, 2.0], batch("run")), 0, x=4, y=3)
    flags = CenteredGrid(1, 0, x=4, y=3) > 0
    row = [panel(field, name, 0, None, View()) for name, field in (
        ("points", points), ("runs", runs_of), ("flags", flags))]  # fmt: skip
    assert len(titles(draw({"all": row}))) == 4
    assert len(titles(draw({str(i): [one] for i, one in enumerate(row[::2])}, is_row=True))) == 2


def test_points_in_3d_leave_room_for_the_scales_of_others(runs: Scene) -> None:
    """PhiFlow draws one scale for all, across the last panel."""
    points = PointCloud(vec(x=tensor([0.0, 1.0], instance("points")), y=0.5, z=0.5))
    fields = {"density": runs.read("density"), "points": points}
    figure = draw(
        {name: [panel(field, name, 0, None, View())] for name, field in fields.items()}, is_row=True
    )
    density, cloud, *bars = figure.axes
    assert [hasattr(axes, "_colorbar") for axes in bars] == [True]
    assert density.get_position().x1 < bars[0].get_position().x0
    assert bars[0].get_position().x1 < cloud.get_position().x0
    assert clims(figure) == [(1.75, 2.75)] * 2  # the image of constant 2.25, and its bar


def test_stream_lines_fill_their_panels() -> None:
    large = CenteredGrid(lambda x: x * 1000, 0, Box(x=1, y=2), x=8, y=8)
    volume = StaggeredGrid(1.0, 0, Box(x=1, y=2, z=3), x=4, y=4, z=4)
    panels = {name: [panel(field, name, 0, None, View())]
              for name, field in (("large", large), ("volume", volume))}  # fmt: skip
    for is_row in (False, True):
        figure = draw(panels, is_row=is_row)
        limits = [(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes]
        assert limits == [((0, 1), (0, 2))] * 2


@pytest.mark.filterwarnings("ignore:phiml.math.reshaped_:DeprecationWarning")  # of build_mesh
def test_cells_of_a_mesh_do_not_cross_themselves() -> None:
    mesh = build_mesh(Box(x=3, y=2), x=3, y=2)
    figure = draw({"heat": [panel(Field(mesh, 1.0, 0), "heat", 0, None, View())]})
    cells = [
        path.vertices
        for axes in figure.axes
        if getattr(axes, "_colorbar", None) is None
        for collection in axes.collections
        for path in collection.get_paths()
    ]
    assert len(cells) == 6
    for corners in cells:
        (x, y), (u, v) = corners[:-1].T, corners[1:].T
        assert abs(np.sum(x * v - u * y)) / 2 == pytest.approx(1)  # the area of a cell


def test_limits_of_what_has_none() -> None:
    assert limits_of(CenteredGrid(float("nan"), 0, x=4, y=3)) is None
    assert limits_of(CenteredGrid(vec(x=3, y=4), 0, x=4, y=3)) == (5, 5)
    figure = draw({"flat": [Panel(CenteredGrid(2.0, 0, x=4, y=3), "")]})
    assert set(clims(figure)) == {(1.5, 2.5)}
    with pytest.raises(InvalidInputError, match="too many"):
        draw({"u": [Panel(CenteredGrid(0, 0, x=4, y=3), "")] * 61})


def test_plot(runs: Scene, capsys: Capture) -> None:
    assert run(["plot", "runs.h5/0", "smoke", "velocity", "--frames", "0:", "-o", "a.png"]) == 0
    assert capsys.readouterr().out == "Drawn smoke, velocity of runs.h5/sim_000000: a.png\n"
    with Image.open("a.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[1] > pixels.shape[0] > 300
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    with Image.open("a.png") as picture:
        width = picture.width
    assert run(["plot", "runs.h5/0", "smoke", "-f", "0", "-f", "2", "-f", "1", "-o", "c.png"]) == 0
    capsys.readouterr()
    with Image.open("c.png") as picture:
        assert picture.width > 0.9 * width  # three panels
    assert run(["plot", "runs.h5/0", "--frame", "0", "--dpi", "50"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Drawn density, flow, line, smoke, velocity of")
    assert Path("sim_000000.png").stat().st_size > 5000
    assert run(["plot", "runs.h5/0/density", "--show", "max", "--along", "x", "-o", "b.svg"]) == 0
    assert "<svg" in Path("b.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["plot", "runs.h5", "smoke"], 2, "is no scene"),
        (["plot", "runs.h5/0", "none"], 1, "no field 'none'"),
        (["plot", "runs.h5/0", "smoke", "--frames", "9"], 1, "no frame 9"),
        (["plot", "runs.h5/0", "smoke", "--frames", "9:"], 1, "the last is 2"),
        (["plot", "runs.h5/0", "smoke", "-f", "0", "-f", "1:2"], 2, "one START:STOP:STEP, or sev"),
        (["plot", "runs.h5/0", "smoke", "-o", "no/a.png"], 1, "cannot write no/a.png"),
        (["plot", "runs.h5/0", "smoke", "-o", "a.xyz"], 1, "cannot write a.xyz"),
        (["plot", "runs.h5/0", "density", "--at", "7"], 1, "z = 7 is outside"),
        (["movie", "runs.h5/0", "smoke", "-o", "a.avi"], 2, "ends in .gif or .mp4"),
        (["movie", "runs.h5/0", "smoke", "-o", "no/a.gif"], 1, "cannot write no/a.gif"),
        (["curves", "runs.h5", "none"], 1, "no curve 'none'"),
        (["curves", "runs.h5", "-o", "no/a.png"], 1, "cannot write no/a.png"),
    ],
)
def test_mistakes_are_one_line(
    runs: Scene, arguments: list[str], status: int, text: str, capsys: Capture
) -> None:
    assert run(arguments) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert text in printed.err
    assert "Traceback" not in printed.err


def test_a_gif_shows_each_frame(runs: Scene, capsys: Capture) -> None:
    assert run(["movie", "runs.h5/0", "smoke", "velocity", "--dpi", "40", "-o", "a.gif"]) == 0
    assert "3 frames: a.gif" in capsys.readouterr().out
    with Image.open("a.gif") as movie:
        assert movie.n_frames == 3
        assert movie.info["duration"] == 100
        pictures = []
        for i in range(3):
            movie.seek(i)
            pictures.append(np.asarray(movie.convert("RGB")))
    assert (pictures[0] != pictures[1]).any()
    assert (pictures[1] != pictures[2]).any()
    close_all()
    assert sorted(path.name for path in Path().iterdir()) == ["a.gif", "runs.h5"]


def test_an_mp4_can_be_played(runs: Scene) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="mp4 needs imageio-ffmpeg")
    assert run(["movie", "runs.h5/0", "smoke", "--dpi", "40", "--fps", "5", "-o", "a.mp4"]) == 0
    assert ffmpeg.count_frames_and_secs("a.mp4") == (3, pytest.approx(0.6))


def test_a_movie_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "a.gif"
    target.write_bytes(b"old")

    def pictures() -> Iterator[Any]:
        yield np.zeros((4, 4, 3), np.uint8)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_movie(target, pictures(), 10)
    with pytest.raises(InvalidInputError, match="no frame"):
        write_movie(target, [], 10)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_interrupted_movie_leaves_nothing(runs: Scene) -> None:
    code = (
        "import os, signal\n"
        "from h5scene.pictures import movies\n"
        "write, count = movies.pixels_of, 0\n"
        "def interrupted(*a):\n"
        "    global count\n"
        "    count += 1\n"
        f"    if count == 2: os.kill(os.getpid(), {int(signal.SIGINT)})\n"
        "    return write(*a)\n"
        "movies.pixels_of = interrupted\n"
        "from h5scene.cli import main\n"
        "main(['movie', 'runs.h5/0', 'smoke', '-o', 'a.mp4'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert "interrupted" in done.stderr
    close_all()
    assert [path.name for path in Path().iterdir()] == ["runs.h5"]


def test_what_is_not_installed_is_named(
    runs: Scene, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for arguments, name in (
        (["plot", "runs.h5/0"], "matplotlib"),
        (["movie", "runs.h5/0", "smoke", "-o", "a.gif"], "matplotlib, pillow"),
        (["movie", "runs.h5/0", "smoke", "-o", "a.mp4"], "matplotlib, imageio-ffmpeg"),
        (["curves", "runs.h5", "-o", "a.png"], "matplotlib"),
    ):
        assert run(arguments) == 1
        assert capsys.readouterr().err == (
            f"Error: drawing needs {name}, which is not installed; pip install 'h5scene[plot]'\n"
        )


def test_curves_are_drawn(runs: Scene, capsys: Capture) -> None:
    runs.log_scalars(0, single=1.0)
    assert run(["curves", "runs.h5", "-o", "a.png", "--log"]) == 0
    assert capsys.readouterr().out == "Drawn 3 curves of runs.h5: a.png\n"
    with Image.open("a.png") as picture:
        assert picture.size[0] > 1000
