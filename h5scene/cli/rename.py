"""`h5scene rename`: another name for a scene."""

from __future__ import annotations

import click

from h5scene.cli.text_safety import printable


@click.command("rename")
@click.argument("path", metavar="FILE/SCENE")
@click.argument("name")
def command(path: str, name: str) -> int:
    """Gives a scene another name.

    \b
    Example:
      h5scene rename runs.h5/sim_000003 reference

    Exit status: 0 renamed; 1 there is no such scene, the name is taken, or the file cannot be
    written; 2 wrong arguments.
    """
    from h5scene.handling.addresses import find_address, scene_of
    from h5scene.scene_file import SceneFile

    address = find_address(path)
    if len(address.parts) != 1:
        raise click.UsageError(f"{path} is no scene; give FILE/SCENE, such as runs.h5/sim_000000")
    with SceneFile(address.file, "r+") as file:
        scene = scene_of(file, address.parts[0])
        if address.sharded is not None:
            address.sharded.check_rename(scene, name, address.file)
        file.rename_scene(scene, name)
    click.echo(printable(f"Renamed {address.file}/{scene} to {name}"))
    return 0
