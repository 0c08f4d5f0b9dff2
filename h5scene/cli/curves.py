"""`h5scene curves`: scalar curves of scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from h5scene.cli.common import counted
from h5scene.cli.drawing import use_extra
from h5scene.cli.tables import print_columns, print_json, sparkline
from h5scene.cli.text_safety import printable

if TYPE_CHECKING:
    from h5scene.scene_file import Curve


@click.command("curves")
@click.argument("path", metavar="FILE[/SCENE]")
@click.argument("names", nargs=-1, metavar="[CURVE]...")
@click.option("-o", "--output", metavar="FILE", help="Draw them, into this picture.")
@click.option("--log", "is_log", is_flag=True, help="Draw values on a logarithmic axis.")
@click.option("--dpi", type=click.FloatRange(20, 1200), default=100.0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print steps and values as JSON.")
def command(
    path: str, names: tuple[str, ...], output: str | None, is_log: bool, dpi: float, as_json: bool
) -> int:
    """Lists scalar curves of a scene, or of all scenes of a file, or draws them.

    \b
    Examples:
      h5scene curves runs.h5/sim_000000
      h5scene curves runs.h5 loss -o loss.png --log
      h5scene curves runs.h5/sim_000000 loss --json

    Exit status: 0 done; 1 there is no such scene or curve, or a file cannot be read or written;
    2 wrong arguments.
    """
    from h5scene.errors import NotFoundError
    from h5scene.format.names import listed
    from h5scene.handling.addresses import find_address, scene_of
    from h5scene.handling.summaries import json_value
    from h5scene.scene_file import SceneFile

    address = find_address(path)
    if len(address.parts) > 1:
        raise click.UsageError(f"{path} is no scene; give FILE or FILE/SCENE")
    with SceneFile(address.file, "r") as file:
        scenes = [scene_of(file, address.parts[0])] if address.parts else list(file.scenes)
        found = {scene: file.curves(scene) for scene in scenes}
    known = sorted({name for curves in found.values() for name in curves})
    for name in names:
        if name not in known:
            raise NotFoundError(f"no curve {name!r} in {path}; {listed(known)}")
    chosen: dict[str, dict[str, Curve]] = {
        name: {scene: curves[name] for scene, curves in found.items() if name in curves}
        for name in names or known
    }
    if as_json:
        print_json(
            {
                scene: {
                    name: {
                        "steps": json_value(curves[name].steps),
                        "values": json_value(curves[name].values),
                    }
                    for name in chosen
                    if name in curves
                }
                for scene, curves in found.items()
            }
        )
        return 0
    if not chosen:
        raise NotFoundError(f"there are no curves in {path}")
    if output is not None:
        use_extra("matplotlib")
        from h5scene.pictures.curve_plots import draw_curves

        try:
            draw_curves(chosen, is_log=is_log).savefig(output, dpi=dpi)
        except (OSError, ValueError) as error:
            raise click.ClickException(f"cannot write {output}: {error}") from error
        click.echo(printable(f"Drawn {counted(len(chosen), 'curve')} of {path}: {output}"))
        return 0
    rows = []
    for name, by_scene in chosen.items():
        for scene, curve in by_scene.items():
            values = curve.values.reshape(len(curve.steps), -1)
            first = values[:, 0] if values.size else values.reshape(-1)
            last = ", ".join(f"{value:.6g}" for value in values[-1]) if len(values) else ""
            steps = f"{curve.steps[0]:g}–{curve.steps[-1]:g}" if len(curve.steps) else ""
            rows.append([scene, name, f"{len(curve.steps):,}", steps, last, sparkline(first, 24)])
    print_columns(
        ("scene", "curve", "entries", "steps", "last", "course"),
        rows,
        right=(2,),
        flexible=(0, 1, 4),
    )
    return 0
