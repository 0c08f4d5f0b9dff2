"""`h5scene movie`: fields over frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from h5scene.cli.common import counted, work_bar
from h5scene.cli.drawing import chosen_fields, chosen_frames, use_extra, view_of, view_options
from h5scene.cli.text_safety import printable

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command("movie")
@click.argument("path", metavar="FILE/SCENE")
@click.argument("fields", nargs=-1, metavar="[FIELD]...")
@view_options
@click.option("--fps", type=click.FloatRange(0.1, 50), default=10.0, show_default=True,
              help="Frames a second.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="out.mp4 or out.gif; SCENE.mp4 by default. "
              "Replaced if it is there.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def command(
    path: str,
    fields: tuple[str, ...],
    frames: Any,
    along: str | None,
    position: float | None,
    projection: Any,
    limits: tuple[float, float] | None,
    dpi: float,
    fps: float,
    output: str | None,
    quiet: bool,
) -> int:
    """Makes a movie of fields of a scene, side by side, over all frames or some.

    Each field has one colour scale for the whole movie, so all frames are read twice unless --range
    is given. The file appears when it is complete.

    \b
    Examples:
      h5scene movie runs.h5/sim_000000 smoke -o smoke.gif
      h5scene movie runs.h5/sim_000000 smoke velocity --frames 0:100:2 -o plume.mp4

    Exit status: 0 made; 1 something does not exist or cannot be read or written; 2 wrong arguments;
    130 interrupted, and there is no new file.
    """
    from h5scene.handling.addresses import find_address, scene_of
    from h5scene.scene_file import SceneFile

    address = find_address(path)
    if len(address.parts) == 2 and not fields:
        fields = (address.parts[1],)
    elif len(address.parts) != 1:
        raise click.UsageError(f"{path} is no scene; give FILE/SCENE, such as runs.h5/sim_000000")
    with SceneFile(address.file, "r") as file:
        scene = scene_of(file, address.parts[0])
        where = f"{file.path}/{scene}"
        known = chosen_fields(file, scene, fields)
        shown = chosen_frames(known, frames, where)
        times = file.times(scene)
    target = output or f"{scene}.mp4"
    if Path(target).suffix.lower() not in (".gif", ".mp4"):
        raise click.UsageError(f"{target!r}: a movie ends in .gif or .mp4")
    use_extra("matplotlib", "PIL" if target.lower().endswith(".gif") else "imageio_ffmpeg")
    from h5scene.pictures.movies import pixels_of, write_movie
    from h5scene.pictures.panels import draw, joined, limits_of, panel
    from h5scene.scene import Scene

    opened = Scene.at(where)
    view = view_of(along, position, projection)
    scale: dict[str, tuple[float, float] | None] = dict.fromkeys(known, limits)
    if limits is None:
        with work_bar("Measuring", is_quiet=quiet) as bar:
            for i, frame in enumerate(shown):
                for name in known:
                    one = panel(opened.read(name, frame=frame), name, frame, None, view)
                    scale[name] = joined([scale[name], limits_of(one.field)])
                if bar is not None:
                    bar(i + 1, len(shown))
    with work_bar("Drawing", is_quiet=quiet) as bar:

        def pictures() -> Iterator[Any]:
            for i, frame in enumerate(shown):
                row = {
                    name: [
                        panel(opened.read(name, frame=frame), name, frame, times.get(frame), view)
                    ]
                    for name in known
                }
                yield pixels_of(draw(row, scale, is_row=True), dpi)
                if bar is not None:
                    bar(i + 1, len(shown))

        write_movie(target, pictures(), fps)
    click.echo(
        printable(
            f"Made of {', '.join(known)} of {where}, {counted(len(shown), 'frame')}: {target}"
        )
    )
    return 0
