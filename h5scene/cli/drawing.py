"""What the commands that draw share."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from h5scene.cli.common import FramesType, joined_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from h5scene.pictures.panels import Panel
    from h5scene.pictures.planes import View
    from h5scene.scene_file import SceneFile

F = TypeVar("F", bound="Callable[..., Any]")

_DISTRIBUTIONS = {"PIL": "pillow", "imageio_ffmpeg": "imageio-ffmpeg"}


@dataclass(frozen=True)
class Drawing:
    """What is drawn: fields of a scene at some frames.

    Attributes:
        scene: Name of the scene.
        where: Its address.
        fields: Names under which the fields are stored.
        frames: Numbers of the frames.
        times: Physical times of frames.
    """

    scene: str
    where: str
    fields: tuple[str, ...]
    frames: tuple[int, ...]
    times: Mapping[int, float]

    def panels(self, view: View) -> Iterator[dict[str, Panel]]:
        """Reads frame by frame, and yields what to draw of each field."""
        from h5scene.pictures.panels import panel
        from h5scene.scene import Scene

        scene = Scene.at(self.where)
        for frame in self.frames:
            yield {
                name: panel(scene.read(name, frame=frame), name, frame, self.times.get(frame), view)
                for name in self.fields
            }


def view_options(function: F) -> F:
    """Adds the options that say what of a field is drawn."""
    options = [
        click.option(
            "-f", "--frame", "--frames", "frames", type=FramesType(), metavar="FRAMES",
            multiple=True, callback=joined_frames,
            help="Frames: 7, or 0,5,10, or START:STOP:STEP without STOP itself. Numbers can be "
            "given several times.",
        ),
        click.option("--along", metavar="AXIS", help="Axis to look along in 3D; the last one."),
        click.option(
            "--at", "position", type=float, metavar="X",
            help="Where to slice a 3D field along that axis; in the middle by default.",
        ),
        click.option(
            "--show", "projection", type=click.Choice(["slice", "max", "mean"]),
            default="slice", show_default=True, help="How to draw 3D grids.",
        ),
        click.option(
            "--range", "limits", type=float, nargs=2, metavar="LOW HIGH",
            help="Ends of the colour scale of all fields; those of the values by default.",
        ),
        click.option("--dpi", type=click.FloatRange(20, 1200), default=100.0, show_default=True),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def use_extra(*modules: str) -> None:
    """Raises ClickException where something is not installed; chooses Matplotlib's file backend."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(_DISTRIBUTIONS.get(name, name) for name in missing)
        raise click.ClickException(
            f"drawing needs {names}, which is not installed; pip install 'h5scene[plot]'"
        )
    if "matplotlib" in modules:
        import matplotlib

        matplotlib.use("Agg")  # into a file, with or without a screen


def view_of(along: str | None, position: float | None, projection: Any) -> View:
    """Returns how 3D grids are drawn."""
    from h5scene.pictures.planes import View

    return View(along, position, projection)


def find_drawing(path: str, wanted: Sequence[str], frames: Any, *, is_last_enough: bool) -> Drawing:
    """Returns what an address, names of fields and numbers of frames mean.

    Args:
        path: FILE/SCENE, or FILE/SCENE/FIELD without other names.
        wanted: Names of fields; all of them by default.
        frames: Their frames.
        is_last_enough: Whether only the last frame is meant where none is given; else all are.
    """
    from h5scene.handling.addresses import find_address, scene_of
    from h5scene.scene_file import SceneFile

    address = find_address(path)
    if len(address.parts) == 2 and not wanted:
        wanted = (address.parts[1],)
    elif len(address.parts) != 1:
        raise click.UsageError(f"{path} is no scene; give FILE/SCENE, such as runs.h5/sim_000000")
    with SceneFile(address.file, "r") as file:
        scene = scene_of(file, address.parts[0])
        where = f"{file.path}/{scene}"
        known = _chosen_fields(file, scene, wanted)
        shown = _chosen_frames(known, frames, where)
        if frames is None and is_last_enough:
            shown = shown[-1:]
        return Drawing(scene, where, tuple(known), tuple(shown), file.times(scene))


def _chosen_fields(
    file: SceneFile, scene: str, wanted: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """Returns the frames of the fields that are meant, by their stored names."""
    from h5scene.errors import NotFoundError
    from h5scene.format.names import find_field

    frames = file.frames(scene)
    where = f"{file.path}/{scene}"
    if not frames:
        raise NotFoundError(f"there is no field in {where}")
    if not wanted:
        return {name: found for name, found in frames.items() if found}
    links = [find_field(frames, name, where) for name in wanted]
    return {link: frames[link] for link in links}


def _chosen_frames(known: dict[str, tuple[int, ...]], frames: Any, where: str) -> list[int]:
    """Returns the frames that all of the fields have, those that are meant."""
    from h5scene.errors import FrameNotFoundError

    common = sorted(set.intersection(*map(set, known.values()))) if known else []
    if not common:
        raise FrameNotFoundError(f"no frame of {where} has all of {', '.join(known)}")
    if frames is None:
        return common
    if isinstance(frames, slice):
        wanted = range(common[-1] + 1)[frames]
        found = [frame for frame in common if frame in wanted]
        if not found:
            raise FrameNotFoundError(
                f"no frame of {where} is one of those; the last is {common[-1]}"
            )
        return found
    missing = sorted(set(frames) - set(common))
    if missing:
        raise FrameNotFoundError(
            f"no frame {missing[0]} of {', '.join(known)} in {where}; h5scene ls {where} shows "
            "which there are"
        )
    return list(dict.fromkeys(frames))
