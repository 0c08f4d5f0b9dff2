"""`h5scene import`: scene directories of PhiFlow into a scene file."""

from __future__ import annotations

from typing import Any

import click

from h5scene.cli.common import chosen, progress_bar, show_result, transfer_options


@click.command("import")
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@click.argument("file", type=click.Path(dir_okay=False))
@transfer_options
@click.option(
    "--compression",
    type=click.Choice(["fast", "small", "none"]),
    default="fast",
    show_default=True,
    help="How hard to pack the frames.",
)
def command(
    directory: str,
    file: str,
    scenes: tuple[str, ...],
    fields: tuple[str, ...],
    frames: Any,
    jobs: int,
    overwrite: bool,
    dry_run: bool,
    verify: bool,
    max_array_bytes: int | None,
    quiet: bool,
    compression: Any,
) -> int:
    """Brings PhiFlow's scene directories into a scene file.

    DIRECTORY is one scene, or holds scenes. All that is in a scene comes along: fields bit for bit,
    description.json as properties, log_*.txt as curves, and every other file. Nothing in it can run
    code. FILE is created if it does not exist.

    Exit status: 0 all was imported; 1 something could not be, and is named, while the rest was
    imported; 2 wrong arguments; 130 interrupted, the same command goes on.
    """
    from h5scene.interop.scene_directories import import_scenes

    with progress_bar("Importing", is_quiet=quiet) as report:
        done = import_scenes(
            directory,
            file,
            scenes=chosen(scenes),
            fields=chosen(fields),
            frames=frames,
            overwrite=overwrite,
            verify=verify,
            dry_run=dry_run,
            jobs=jobs,
            max_array_bytes=max_array_bytes,
            compression=None if compression == "none" else compression,
            on_progress=report,
        )
    return show_result("import", f"into {file}", done, is_dry_run=dry_run, is_quiet=quiet)
