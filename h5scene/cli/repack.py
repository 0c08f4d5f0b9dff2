"""`h5scene repack`: a file without gaps."""

from __future__ import annotations

from typing import Any

import click

from h5scene.cli.common import size, threads_option, work_bar
from h5scene.cli.text_safety import printable


@click.command("repack")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--compression",
    type=click.Choice(["keep", "fast", "small", "none"]),
    default="keep",
    show_default=True,
    help="Pack all fields again, or move them as they are.",
)
@threads_option
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def command(file: str, compression: Any, jobs: int | None, quiet: bool) -> int:
    """Writes a file anew: without gaps, and quick to read over a network.

    Space of what was removed is given back, and what describes the frames stands together, so that
    readers over HTTP ask for few pieces. The new file is written beside the old one, compared with
    it bit by bit, and takes its place when all is the same. Needs room for both. Others may read
    meanwhile; those that want to write wait.

    \b
    Examples:
      h5scene repack runs.h5
      h5scene repack runs.h5 --compression small

    Exit status: 0 done; 1 it could not be done, and the file is as it was; 2 wrong arguments; 130
    interrupted, and the file is as it was.
    """
    from h5scene.handling.repacking import repack

    with work_bar("Copying", is_bytes=True, is_quiet=quiet) as bar:

        def report(what: str, done: int, total: int) -> None:
            if bar is not None:
                bar(done, total, what.capitalize())

        done = repack(file, compression=compression, workers=jobs, on_progress=report)
    change = done.after_bytes - done.before_bytes
    words = f"{size(abs(change))} {'less' if change <= 0 else 'more'}"
    click.echo(
        printable(
            f"Repacked {file}: {size(done.before_bytes)} before, "
            f"{size(done.after_bytes)} now, {words}; compared, all is the same"
        )
    )
    return 0
