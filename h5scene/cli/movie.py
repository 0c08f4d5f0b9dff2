"""`h5scene movie`: fields over frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from h5scene.cli.common import counted, work_bar
from h5scene.cli.drawing import find_drawing, use_extra, view_of, view_options
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
    drawing = find_drawing(path, fields, frames, is_last_enough=False)
    target = output or f"{drawing.scene}.mp4"
    if Path(target).suffix.lower() not in (".gif", ".mp4"):
        raise click.UsageError(f"{target!r}: a movie ends in .gif or .mp4")
    use_extra("matplotlib", "PIL" if target.lower().endswith(".gif") else "imageio_ffmpeg")
    from h5scene.pictures.movies import pixels_of, write_movie
    from h5scene.pictures.panels import draw, joined, limits_of

    count = len(drawing.frames)
    view = view_of(along, position, projection)
    scale: dict[str, tuple[float, float] | None] = dict.fromkeys(drawing.fields, limits)
    if limits is None:
        with work_bar("Measuring", is_quiet=quiet) as bar:
            for i, panels in enumerate(drawing.panels(view)):
                for name, panel in panels.items():
                    scale[name] = joined([scale[name], limits_of(panel.field)])
                if bar is not None:
                    bar(i + 1, count)
    with work_bar("Drawing", is_quiet=quiet) as bar:

        def pictures() -> Iterator[Any]:
            for i, panels in enumerate(drawing.panels(view)):
                row = {name: [panel] for name, panel in panels.items()}
                yield pixels_of(draw(row, scale, is_row=True), dpi)
                if bar is not None:
                    bar(i + 1, count)

        write_movie(target, pictures(), fps)
    click.echo(
        printable(
            f"Made of {', '.join(drawing.fields)} of {drawing.where}, {counted(count, 'frame')}: "
            f"{target}"
        )
    )
    return 0
