"""`h5scene recover`: what is left of a damaged file, in a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from h5scene.cli.common import counted, show_lines, threads_option, work_bar
from h5scene.cli.tables import print_json
from h5scene.cli.text_safety import printable

if TYPE_CHECKING:
    from h5scene.handling.recovering import Recovered


@click.command("recover")
@click.argument("bad", type=click.Path(exists=True, dir_okay=False))
@click.option("-o", "--output", required=True, metavar="GOOD", help="The new file.")
@click.option(
    "--compression",
    type=click.Choice(["fast", "small", "none"]),
    default="fast",
    show_default=True,
    help="Of the new file.",
)
@threads_option
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, no list of what is lost.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    bad: str, output: str, compression: str, jobs: int | None, quiet: bool, as_json: bool
) -> int:
    """Saves all that can be read of a damaged file BAD into a new file GOOD.

    Frames, properties, curves, times and attached files are saved if they are as they were written.
    Where the way to them is damaged, or the file was cut off, it is searched for them. BAD is not
    changed. It is read by a process with limits, which it may crash without harm.

    \b
    Examples:
      h5scene recover broken.h5 -o saved.h5
      h5scene recover downloaded.h5 -o clean.h5

    Exit status: 0 all was saved; 1 something is lost, or nothing could be saved; 2 wrong arguments;
    130 interrupted, and there is no new file.
    """
    from h5scene.handling.recovering import recover

    with work_bar("Saving", is_bytes=True, is_quiet=quiet) as bar:

        def report(what: str, done: int, total: int) -> None:
            if bar is not None:
                bar(done, total, what.capitalize())

        how: Any = None if compression == "none" else compression
        done = recover(bad, output, compression=how, workers=jobs, on_progress=report)
    if as_json:
        print_json(_as_json(done))
        return 1 if done.lost_count else 0
    if not quiet:
        show_lines("Lost:", [str(one) for one in done.lost], most=50)
    counts = done.counts
    words = [
        counted(counts.get(f"{what}s", 0), what)
        for what in ("scene", "field", "frame", "file")
        if what != "file" or counts.get("files")
    ]
    line = f"Saved {', '.join(words)} into {done.file}"
    if counts.get("descriptions"):
        line += f"; of {counted(counts['descriptions'], 'frame')} only the numbers"
    if done.lost_count:
        line += f"; {counted(done.lost_count, 'thing')} lost"
    click.echo(printable(line))
    return 1 if done.lost_count else 0


def _as_json(done: Recovered) -> dict[str, Any]:
    """Returns what was done as plain values."""
    return {
        "file": done.file,
        "counts": done.counts,
        "lost_count": done.lost_count,
        "lost": [{"path": one.path, "message": one.message} for one in done.lost],
    }
