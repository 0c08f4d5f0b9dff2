"""`h5scene plot`: a picture of fields at some frames."""

from __future__ import annotations

from typing import Any

import click

from h5scene.cli.common import work_bar
from h5scene.cli.drawing import find_drawing, use_extra, view_of, view_options
from h5scene.cli.text_safety import printable


@click.command("plot")
@click.argument("path", metavar="FILE/SCENE")
@click.argument("fields", nargs=-1, metavar="[FIELD]...")
@view_options
@click.option(
    "-o", "--output", metavar="FILE", help="Picture to write, such as out.png, .pdf, .svg; "
    "SCENE.png by default. Replaced if it is there."
)  # fmt: skip
def command(
    path: str,
    fields: tuple[str, ...],
    frames: Any,
    along: str | None,
    position: float | None,
    projection: Any,
    limits: tuple[float, float] | None,
    dpi: float,
    output: str | None,
) -> int:
    """Draws fields of a scene: a row for each field, a column for each frame.

    Fields of a single frame stand side by side. All fields by default, at their last common frame.
    All pictures of a field have one colour scale. PhiFlow draws: grids as images, vectors as stream
    lines, 3D grids as a slice or projection.

    \b
    Examples:
      h5scene plot runs.h5/sim_000000 -o plume.png
      h5scene plot runs.h5/sim_000000 smoke velocity --frames 0,25,50
      h5scene plot runs.h5/0 density --show max --along y

    Exit status: 0 drawn; 1 something does not exist or cannot be read or written; 2 wrong
    arguments.
    """
    use_extra("matplotlib")
    view = view_of(along, position, projection)
    drawing = find_drawing(path, fields, frames, is_last_enough=True)
    from h5scene.pictures.panels import MOST_PANELS, draw

    count = len(drawing.frames)
    if count * len(drawing.fields) > MOST_PANELS:
        raise click.UsageError(
            f"{count} frames of {len(drawing.fields)} fields are too many for one picture; choose "
            "some with --frames, or make a movie with h5scene movie"
        )
    rows: dict[str, list[Any]] = {name: [] for name in drawing.fields}
    with work_bar("Reading") as bar:
        for i, panels in enumerate(drawing.panels(view)):
            for name, panel in panels.items():
                rows[name].append(panel)
            if bar is not None:
                bar(i + 1, count)
    scale = dict.fromkeys(drawing.fields, limits) if limits else None
    figure = draw(rows, scale, is_row=count == 1)
    target = output or f"{drawing.scene}.png"
    try:
        figure.savefig(target, dpi=dpi, bbox_inches="tight")
    except (OSError, ValueError) as error:  # ValueError: a format that Matplotlib does not know
        raise click.ClickException(f"cannot write {target}: {error}") from error
    click.echo(printable(f"Drawn {', '.join(drawing.fields)} of {drawing.where}: {target}"))
    return 0
