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
from h5scene.cli.text_safety import printable
from h5scene.errors import H5SceneError

_SUBCOMMANDS = {
    "attach": "attach",
    "cat": "cat",
    "check": "check",
    "copy": "copy",
    "curves": "curves",
    "diff": "diff",
    "export": "export",
    "get": "get",
    "import": "import_",
    "info": "info",
    "ls": "ls",
    "merge": "merge",
    "movie": "movie",
    "plot": "plot",
    "recover": "recover",
    "rename": "rename",
    "repack": "repack",
    "rm": "rm",
    "set": "set",
    "split": "split",
}
"""Modules of this package, by the name of the subcommand."""

_SECTIONS = {
    "Look into a file": ("ls", "info", "get", "cat", "diff"),
    "Draw": ("plot", "movie", "curves"),
    "Change a file": ("set", "attach", "rename", "rm", "repack"),
    "When a file is damaged": ("check", "recover"),
    "Hand on": ("copy", "split", "merge", "import", "export"),
}
"""How the help puts subcommands together; those of no section come last."""

_EPILOG = """
PATH is a file, or something in it: runs.h5, runs.h5/sim_000000, runs.h5/sim_000000/smoke,
runs.h5/sim_000000/smoke/20. runs.h5/0 is short for runs.h5/sim_000000. `h5scene COMMAND --help`
has examples of each command.

\b
Exit status: 0 all done, 1 something could not be done (diff: something differs),
             2 wrong arguments (diff: could not be compared), 130 interrupted.

The shell completes commands and options after this (zsh_source for zsh):

\b
    eval "$(_H5SCENE_COMPLETE=bash_source h5scene)"
"""

EXIT_PROBLEMS = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class _Subcommands(click.Group):
    """Loads a subcommand when it is asked for, and lists them in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the subcommands into the help."""
        placed = {name for names in _SECTIONS.values() for name in names}
        others = tuple(name for name in self.list_commands(ctx) if name not in placed)
        for title, names in {**_SECTIONS, "Other": others}.items():
            found = [(name, self.get_command(ctx, name)) for name in names]
            rows = [(name, one.get_short_help_str(70)) for name, one in found if one is not None]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

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
    epilog=_EPILOG,
)
@click.version_option(__version__, prog_name="h5scene")
def group() -> None:
    """Scene files: PhiFlow simulations in one HDF5 file.

    Look into them, draw them, change them, hand them on.
    """


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
        click.echo(f"h5scene: {printable(str(error))}", err=True)
        return EXIT_PROBLEMS
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            "h5scene: interrupted; every file is as it was last committed, and the same command "
            "goes on, or begins again",
            err=True,
        )
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever reads the output has had enough. Python would complain while it exits.
        sys.stderr.close()
        return EXIT_PROBLEMS
    return status if isinstance(status, int) else 0
