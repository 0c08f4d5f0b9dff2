"""The `h5scene` command: the only room that prints and draws progress.

One module for each subcommand, which holds a `click` command named `command`; `_SUBCOMMANDS` lists
them, and each is imported when it is called. `common` holds what they share: options, progress,
and how errors are shown.

Results go to standard output, all else to standard error.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from h5scene._version import __version__
from h5scene.errors import H5SceneError

_SUBCOMMANDS = {"export": "export", "import": "import_"}
"""Modules of this package, by the name of the subcommand."""

EXIT_PROBLEMS = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class _Subcommands(click.Group):
    """Loads a subcommand when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # as click's
        """Returns the names of all subcommands."""
        return sorted(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Returns a subcommand; `None` if there is none of this name."""
        if cmd_name not in _SUBCOMMANDS:
            return None
        module = importlib.import_module(f"h5scene.cli.{_SUBCOMMANDS[cmd_name]}")
        command: click.Command = module.command
        return command


@click.group(
    cls=_Subcommands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 all done, 1 something could not be done, 2 wrong arguments.",
)
@click.version_option(__version__, prog_name="h5scene")
def group() -> None:
    """PhiFlow simulations in one HDF5 file."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command and exits."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    try:
        status: Any = group.main(arguments, prog_name="h5scene", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except H5SceneError as error:
        click.echo(f"h5scene: {error}", err=True)
        return EXIT_PROBLEMS
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            "h5scene: interrupted; the same command goes on where this one stopped", err=True
        )
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever reads the output has had enough. Python would complain while it exits.
        sys.stderr.close()
        return EXIT_PROBLEMS
    return status if isinstance(status, int) else 0
