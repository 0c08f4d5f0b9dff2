"""`h5scene copy`: a file, or scenes of it, into another file."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import click

from h5scene.cli.common import counted, size, work_bar
from h5scene.cli.text_safety import printable


@click.command("copy")
@click.argument("source", metavar="FILE[/SCENE]")
@click.argument("target", metavar="TARGET[/SCENE]")
@click.option(
    "-s",
    "--scene",
    "patterns",
    multiple=True,
    metavar="NAME",
    help="Of a file only this scene; * and ? stand for others. Can be given several times.",
)
@click.option("--overwrite", is_flag=True, help="Replace scenes of the target that have the names.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def command(
    source: str, target: str, patterns: tuple[str, ...], overwrite: bool, quiet: bool
) -> int:
    """Copies a file, or scenes of it, into another file.

    A whole file is copied to a name that is free, also while somebody writes to it: the copy is its
    last committed state. Scenes are added to the target, which is created if there is none; all of
    them appear there at once. Nothing is unpacked on the way.

    \b
    Examples:
      h5scene copy runs.h5 backup.h5
      h5scene copy runs.h5/sim_000000 best.h5
      h5scene copy runs.h5/sim_000000 best.h5/reference
      h5scene copy runs.h5 some.h5 -s 'sim_00001*'

    Exit status: 0 copied; 1 something does not exist, a name is taken, or a file cannot be read or
    written, and nothing was copied; 2 wrong arguments.
    """
    from h5scene.errors import SceneNotFoundError
    from h5scene.handling.addresses import find_address, scene_of, target_address
    from h5scene.handling.copying import copy_file, copy_scenes
    from h5scene.scene_file import SceneFile

    old, new = find_address(source), target_address(target)
    if len(old.parts) > 1 or len(new.parts) > 1:
        raise click.UsageError("only files and scenes can be copied; give FILE or FILE/SCENE")
    if new.parts and (not old.parts or patterns):
        raise click.UsageError("only one scene can get a name; give FILE/SCENE as the first")
    if not old.parts and not patterns and not Path(new.file).exists():
        with work_bar("Copying", is_bytes=True, is_quiet=quiet) as bar:
            copied_bytes = copy_file(old.file, new.file, on_progress=bar)
        click.echo(printable(f"Copied {old.file} to {new.file}, {size(copied_bytes)}"))
        return 0
    names = None
    with SceneFile(old.file, "r") as file:
        if old.parts:
            scene = scene_of(file, old.parts[0])
            names = {scene: new.parts[0] if new.parts else scene}
        elif patterns:
            chosen = [
                name
                for name in file.scenes
                if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
            ]
            if not chosen:
                raise SceneNotFoundError(f"no scene of {old.file} is named like that")
            names = {name: name for name in chosen}
    with work_bar("Copying", is_bytes=True, is_quiet=quiet) as bar:
        copied = copy_scenes(old.file, new.file, names, overwrite=overwrite, on_progress=bar)
    click.echo(printable(f"Copied {counted(len(copied), 'scene')} from {old.file} to {new.file}"))
    return 0
