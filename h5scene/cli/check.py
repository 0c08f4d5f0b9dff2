"""`h5scene check`: whether a file is what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from h5scene.cli.common import counted, size, threads_option, work_bar
from h5scene.cli.tables import print_json
from h5scene.cli.text_safety import printable

if TYPE_CHECKING:
    from h5scene.handling.checking import Checked

_MOST_SHOWN = 50


@click.command("check")
@click.argument("file")
@click.option(
    "--sandbox",
    is_flag=True,
    help="Read in a process with limits of memory and time: for files that you do not trust, or "
    "that end the program.",
)
@threads_option
@click.option("-v", "--verbose", is_flag=True, help="Show all findings, harmless ones too.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit status says it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    file: str, sandbox: bool, jobs: int | None, verbose: bool, quiet: bool, as_json: bool
) -> int:
    """Reads all of a file, and says what is damaged in it.

    Every group, attribute and chunk is read and compared with the format and with its checksums.
    Nothing is changed, and others may write meanwhile.

    \b
    Examples:
      h5scene check runs.h5
      h5scene check downloaded.h5 --sandbox
      h5scene check runs.h5 --json

    Exit status: 0 all is as it was written; 1 something is wrong, or the file cannot be read;
    2 wrong arguments.
    """
    from h5scene.handling.addresses import find_address
    from h5scene.handling.checking import check

    address = find_address(file)
    if address.parts:
        raise click.UsageError("only whole files can be checked; give FILE")
    with work_bar("Checking", is_bytes=True, is_quiet=quiet) as bar:
        done = check(address.file, workers=jobs, sandbox=sandbox, on_progress=bar)
    if quiet:
        pass
    elif as_json:
        print_json(_as_json(done))
    else:
        _show(done, is_verbose=verbose)
    return 0 if done.is_sound else 1


def _show(done: Checked, *, is_verbose: bool) -> None:
    """Prints what was found, and a line on all of it."""
    shown = done.findings if is_verbose else done.problems
    for one in shown if is_verbose else shown[:_MOST_SHOWN]:
        click.echo(printable(str(one)))
    if len(shown) > _MOST_SHOWN and not is_verbose:
        click.echo(f"… and {len(shown) - _MOST_SHOWN:,} more; --verbose shows them")
    harmless = len(done.findings) - len(done.problems)
    if harmless and not is_verbose:
        noun = "thing" if harmless == 1 else "things"
        click.echo(f"{harmless:,} {noun} that h5scene does not know; --verbose shows them")
    counts = done.counts
    read = ", ".join(
        [
            *(
                counted(counts.get(what + "s", 0), what)
                for what in ("scene", "field", "frame", "file")
                if what != "file" or counts.get("files")
            ),
            size(counts.get("bytes", 0)),
        ]
    )
    if done.is_sound:
        click.echo(printable(f"{done.file} is as it was written: {read}"))
        return
    damaged, frames = counts.get("damaged frames", 0), counts.get("frames", 0)
    lost = f"; {damaged:,} of {counted(frames, 'frame')} cannot be read" if damaged else ""
    click.echo(
        printable(
            f"{done.file} has {counted(len(done.problems), 'problem')}: read {read}{lost}; "
            f"`h5scene recover {done.file} -o NEW` saves what can be read"
        )
    )


def _as_json(done: Checked) -> dict[str, Any]:
    """Returns what was found as plain values."""
    return {
        "file": done.file,
        "is_sound": done.is_sound,
        "counts": done.counts,
        "findings": [
            {"path": one.path, "kind": one.kind, "message": one.message} for one in done.findings
        ],
    }
