"""`h5scene attach`: files of this computer into a scene."""

from __future__ import annotations

from pathlib import Path

import click

from h5scene.cli.common import counted, size
from h5scene.cli.text_safety import printable


@click.command("attach")
@click.argument("path", metavar="FILE/SCENE")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--into",
    default="src",
    show_default=True,
    metavar="DIR",
    help="Directory of the scene to put them into; '' for none.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that have these names.")
def command(path: str, files: tuple[str, ...], into: str, overwrite: bool) -> int:
    """Attaches files to a scene: scripts, settings, pictures.

    All of them are attached, or none. Each is read into memory.

    \b
    Examples:
      h5scene attach runs.h5/sim_000000 plume.py
      h5scene attach runs.h5/sim_000000 *.png --into images

    Exit status: 0 attached; 1 a name is taken, or a file cannot be read or written; 2 wrong
    arguments.
    """
    from h5scene.errors import AlreadyExistsError
    from h5scene.handling.addresses import find_address, scene_of
    from h5scene.scene_file import SceneFile

    address = find_address(path)
    if len(address.parts) != 1:
        raise click.UsageError(f"{path} is no scene; give FILE/SCENE, such as runs.h5/sim_000000")
    folder = into.strip("/")
    contents = {}
    for name in files:
        try:
            content = Path(name).read_bytes()
        except OSError as error:
            raise click.ClickException(f"cannot read {name}: {error.strerror}") from error
        link = f"{folder}/{Path(name).name}" if folder else Path(name).name
        if link in contents:
            raise click.UsageError(f"two of the files would be named {link}")
        contents[link] = content
    with SceneFile(address.file, "r+") as file, file.transaction():
        scene = scene_of(file, address.parts[0])
        taken = sorted(set(contents) & set(file.files(scene)))
        if taken and not overwrite:
            raise AlreadyExistsError(
                f"{file.path}/{scene} has {', '.join(taken)} already; --overwrite replaces them"
            )
        file.write_files({scene: contents})
    total = sum(map(len, contents.values()))
    click.echo(
        printable(
            f"Attached {counted(len(contents), 'file')}, {size(total)}, to "
            f"{address.file}/{scene}: {', '.join(contents)}"
        )
    )
    return 0
