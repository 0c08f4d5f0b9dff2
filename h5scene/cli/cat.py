"""`h5scene cat`: the content of an attached file."""

from __future__ import annotations

import sys

import click


@click.command("cat")
@click.argument("path", metavar="FILE/SCENE/NAME")
def command(path: str) -> int:
    """Prints a file that is attached to a scene, its bytes as they are.

    `h5scene info FILE/SCENE` lists the names.

    \b
    Examples:
      h5scene cat runs.h5/sim_000000/src/plume.py
      h5scene cat runs.h5/sim_000000/src/plume.py > plume.py

    Exit status: 0 printed; 1 there is no such file, or it cannot be read; 2 wrong arguments.
    """
    from h5scene.handling.addresses import find_address, scene_of
    from h5scene.scene_file import SceneFile

    address = find_address(path)
    if len(address.parts) < 2:
        raise click.UsageError(
            f"{path} names no attached file; give FILE/SCENE/NAME, such as "
            "runs.h5/sim_000000/src/plume.py"
        )
    with SceneFile(address.file, "r") as file:
        content = file.read_file(scene_of(file, address.parts[0]), "/".join(address.parts[1:]))
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
    return 0
