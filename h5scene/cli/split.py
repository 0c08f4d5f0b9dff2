"""`h5scene split`: a file for each scene."""

from __future__ import annotations

import fnmatch

import click

from h5scene.cli.common import counted, work_bar
from h5scene.cli.text_safety import printable


@click.command("split")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.argument("directory", type=click.Path(file_okay=False))
@click.option(
    "-s",
    "--scene",
    "patterns",
    multiple=True,
    metavar="NAME",
    help="Only this scene; * and ? stand for others. Can be given several times.",
)
@click.option(
    "--per-file",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Scenes in a file.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def command(
    file: str, directory: str, patterns: tuple[str, ...], per_file: int, quiet: bool
) -> int:
    """Writes the scenes of a file into files of their own.

    DIRECTORY gets sim_000000.h5 and so on, each named like the first scene in it. FILE stays as it
    is. Files that are there already and hold the scenes are left alone: a command that was
    interrupted goes on when it is given again.

    \b
    Example:
      h5scene split runs.h5 single/

    Exit status: 0 all are written; 1 something could not be read or written; 2 wrong arguments.
    """
    from h5scene.errors import SceneNotFoundError
    from h5scene.handling.copying import split
    from h5scene.scene_file import SceneFile

    chosen = None
    if patterns:
        with SceneFile(file, "r") as opened:
            chosen = [n for n in opened.scenes if any(fnmatch.fnmatchcase(n, p) for p in patterns)]
        if not chosen:
            raise SceneNotFoundError(f"no scene of {file} is named like that")
    with work_bar("Splitting", is_quiet=quiet) as bar:
        paths = split(file, directory, chosen, scenes_per_file=per_file, on_progress=bar)
    click.echo(printable(f"{counted(len(paths), 'file')} in {directory}"))
    return 0
