"""`h5scene export`: scenes of a scene file into directories that PhiFlow reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from h5scene.cli.common import chosen, progress_bar, show_lines, show_result, transfer_options

if TYPE_CHECKING:
    from h5scene.interop.transfer import Transfer


@click.command("export")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.argument("directory", type=click.Path(file_okay=False))
@transfer_options
def command(
    file: str,
    directory: str,
    scenes: tuple[str, ...],
    fields: tuple[str, ...],
    frames: Any,
    jobs: int,
    overwrite: bool,
    dry_run: bool,
    verify: bool,
    max_array_bytes: int | None,
    quiet: bool,
) -> int:
    """Writes scenes of a scene file as directories that PhiFlow reads.

    DIRECTORY gets a directory for each scene, with all that is in it. What PhiFlow's npz files
    cannot hold is listed first, and kept beside them in _h5scene/, where `h5scene import` finds it
    again.

    Exit status: 0 all was exported; 1 something could not be, and is named, while the rest was
    exported; 2 wrong arguments; 130 interrupted, the same command goes on.
    """
    from h5scene.interop.scene_directories import export_scenes

    def list_beside(plan: Transfer) -> None:
        if not quiet:
            show_lines("Kept beside the npz files, which cannot hold it:", plan.beside)

    with progress_bar("Exporting", is_quiet=quiet) as report:
        done = export_scenes(
            file,
            directory,
            scenes=chosen(scenes),
            fields=chosen(fields),
            frames=frames,
            overwrite=overwrite,
            verify=verify,
            dry_run=dry_run,
            jobs=jobs,
            max_array_bytes=max_array_bytes,
            on_plan=list_beside,
            on_progress=report,
        )
    return show_result("export", f"into {directory}", done, is_dry_run=dry_run, is_quiet=quiet)
