"""`h5scene diff`: what differs between two files, scenes, fields or frames."""

from __future__ import annotations

from typing import Any

import click

from h5scene.cli.common import counted, work_bar
from h5scene.cli.tables import print_json
from h5scene.cli.text_safety import printable

EXIT_TROUBLE = 2


@click.command("diff")
@click.argument("a")
@click.argument("b")
@click.option(
    "--rtol",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Tolerance as a part of the magnitude of the value in B.",
)
@click.option("--atol", type=click.FloatRange(0), default=0.0, show_default=True, help="Tolerance.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit status says it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(a: str, b: str, rtol: float, atol: float, quiet: bool, as_json: bool) -> int:
    """Says what differs between two files, scenes, fields or frames.

    Without tolerances every bit counts. With one, numbers are the same where
    |A - B| <= atol + rtol |B|, and NaN is the same as NaN.

    \b
    Examples:
      h5scene diff runs.h5 backup.h5
      h5scene diff runs.h5/sim_000000 runs.h5/sim_000001 --rtol 1e-5
      h5scene diff a.h5/0/smoke b.h5/0/smoke --atol 1e-6

    Exit status: 0 all is the same; 1 something differs; 2 something could not be compared, or wrong
    arguments.
    """
    from h5scene.errors import H5SceneError
    from h5scene.handling.comparing import compare
    from h5scene.handling.summaries import json_value

    try:
        with work_bar("Comparing", is_quiet=quiet) as bar:
            found = compare(a, b, rtol=rtol, atol=atol, on_progress=bar)
    except H5SceneError as error:
        click.echo(printable(f"h5scene: {error}"), err=True)
        return EXIT_TROUBLE
    if quiet:
        pass
    elif as_json:
        rows: list[dict[str, Any]] = [
            {
                "path": one.path,
                "kind": one.kind,
                "message": one.message,
                "max_absolute": json_value(one.max_absolute),
                "max_relative": json_value(one.max_relative),
                "count": one.count,
            }
            for one in found
        ]
        print_json({"a": a, "b": b, "rtol": rtol, "atol": atol, "differences": rows})
    else:
        for one in found:
            click.echo(printable(str(one)))
        if found:
            click.echo(counted(len(found), "difference"), err=True)
    return 1 if found else 0
