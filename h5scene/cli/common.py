"""What the subcommands share: options, the progress bar, and how results are shown."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from h5scene.cli.text_safety import printable

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from h5scene.interop.transfer import Progress as State
    from h5scene.interop.transfer import Report, Transfer

F = TypeVar("F", bound=Callable[..., Any])

_PATIENCE_S = 0.3
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SLICE = re.compile(r"([0-9]*):([0-9]*)(?::([0-9]+))?", re.ASCII)


threads_option = click.option(
    "-j", "--jobs", type=click.IntRange(1), metavar="N",
    help="Threads; as many as there are processors by default.",
)  # fmt: skip


class FramesType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # of new click
    """Frames: `7`, `0,5,10` or a slice `START:STOP:STEP` as Python has it."""

    name = "FRAMES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns a slice or a list of numbers."""
        if not isinstance(value, str):
            return value
        parts = _SLICE.fullmatch(value)
        if parts is not None and parts[3] != "0":
            return slice(*(None if not part else int(part) for part in parts.groups()))
        items = value.split(",")
        if not all(item.isascii() and item.isdecimal() for item in items):
            self.fail(f"{value!r} is not like 7, 0,5,10 or 0:100:10", param, ctx)
        return [int(item) for item in items]


def joined_frames(
    ctx: click.Context,  # noqa: ARG001  # as click calls it
    param: click.Parameter,
    given: tuple[Any, ...],
) -> Any:
    """Returns the frames of an option that may be given several times; a range only alone."""
    if len(given) < 2:
        return given[0] if given else None
    if any(isinstance(one, slice) for one in given):
        raise click.BadParameter("give one START:STOP:STEP, or several numbers", param=param)
    return [frame for one in given for frame in one]


class BytesType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # of new click
    """A number of bytes: `500M`, `8G`."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns the number."""
        if not isinstance(value, str):
            return value
        parts = re.fullmatch(r"([0-9]+)([KMGT]?)B?", value.strip().upper(), re.ASCII)
        if parts is None:
            self.fail(f"{value!r} is not like 500M or 8G", param, ctx)
        return int(parts[1]) * _UNITS[parts[2]]


def transfer_options(function: F) -> F:
    """Adds the options that import and export share."""
    options = [
        click.option(
            "-s", "--scene", "scenes", multiple=True, metavar="NAME",
            help="Only this scene; * and ? stand for others. Can be given several times.",
        ),
        click.option(
            "-f", "--field", "fields", multiple=True, metavar="NAME",
            help="Only this field; * and ? stand for others. Can be given several times.",
        ),
        click.option(
            "--frames", type=FramesType(),
            help="Only these frames: 7, or 0,5,10, or START:STOP:STEP without STOP itself.",
        ),
        click.option(
            "-j", "--jobs", type=click.IntRange(1), default=1, show_default=True, metavar="N",
            help="Number of processes; each works on one scene at a time.",
        ),
        click.option(
            "--overwrite/--skip", default=False,
            help="Replace what is there already, or leave it alone, which is the default: a "
            "command that was interrupted goes on when it is given again.",
        ),
        click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done."),
        click.option(
            "--verify", is_flag=True, help="Read everything again afterwards, and compare."
        ),
        click.option(
            "--max-array", "max_array_bytes", type=BytesType(),
            help="Refuse arrays and files that are larger; a quarter of the memory by default.",
        ),
        click.option("-q", "--quiet", is_flag=True, help="No progress bar, no notes."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def chosen(names: tuple[str, ...]) -> list[str] | None:
    """Returns the names that were given; `None` for all."""
    return list(names) or None


@contextmanager
def progress_bar(verb: str, *, is_quiet: bool) -> Iterator[Report | None]:
    """Gives what shows the progress, on a terminal only."""
    if is_quiet or not sys.stderr.isatty():
        yield None
        return
    from rich import progress

    bar = _bar(
        progress.TextColumn("{task.fields[scenes]}"),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
    )
    task = bar.add_task(verb, total=None, scenes="")

    def report(state: State) -> None:
        scenes = f"scene {min(state.scenes + 1, state.scene_count)} of {state.scene_count}"
        bar.update(task, completed=state.bytes, total=state.byte_count, scenes=scenes)

    with bar:
        yield report


@contextmanager
def work_bar(verb: str, *, is_bytes: bool = False, is_quiet: bool = False) -> Iterator[Any]:
    """Gives a function of how much is done, and of how much.

    It draws on a terminal only, and only what takes longer than a moment.
    """
    if is_quiet or not sys.stderr.isatty():
        yield None
        return
    from rich import progress

    if is_bytes:
        bar = _bar(progress.DownloadColumn(), progress.TransferSpeedColumn())
    else:
        bar = _bar(progress.MofNCompleteColumn())
    task = bar.add_task(verb, total=None)
    shown = (verb, -1)

    def report(done: int, total: int, what: str = verb) -> None:
        nonlocal shown
        if not bar.live.is_started and time.monotonic() > start_s + _PATIENCE_S:
            bar.start()
        if shown != (what, done):
            shown = what, done
            bar.update(task, completed=done, total=total, description=what)

    start_s = time.monotonic()
    try:
        yield report
    finally:
        bar.stop()


def _bar(*amounts: ProgressColumn) -> Progress:
    """Returns a progress bar on standard error.

    rich is imported here: what lists a file in half a second should not wait for it.
    """
    from rich import console, progress

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        *amounts,
        progress.TimeRemainingColumn(),
        console=console.Console(stderr=True),
        transient=True,
    )


def show_lines(title: str, lines: list[str], *, most: int = 20) -> None:
    """Prints lines under a title on standard error, the first few when there are many."""
    if lines:
        click.echo(title, err=True)
        for line in lines[:most]:
            click.echo(f"  {printable(line)}", err=True)
        if len(lines) > most:
            click.echo(f"  … and {len(lines) - most} more", err=True)


def show_result(verb: str, where: str, done: Transfer, *, is_dry_run: bool, is_quiet: bool) -> int:
    """Prints what was done, and returns the exit status."""
    if not is_quiet:
        show_lines("Notes:", done.notes)
    show_lines("Problems:", [str(problem) for problem in done.problems], most=1000)
    said = f"Would {verb}" if is_dry_run else f"{verb.capitalize()}ed"
    parts = [
        f"{said} {counted(len(done.scenes), 'scene')}",
        counted(done.frames, "frame"),
        counted(done.files, "file"),
        size(done.bytes),
    ]
    line = f"{', '.join(parts)} {where} in {done.seconds:.1f} s"
    if done.skipped:
        line += f"; {counted(done.skipped, 'item')} there already (--overwrite replaces them)"
    if done.is_verified and not done.problems:
        line += "; verified"
    if done.problems:
        line += f"; {counted(len(done.problems), 'problem')}"
    click.echo(printable(line))
    return 1 if done.problems else 0


def counted(count: int, noun: str) -> str:
    """Returns a number and its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def size(count: int) -> str:
    """Returns a number of bytes for a person."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000  # type: ignore[assignment]
    raise AssertionError
