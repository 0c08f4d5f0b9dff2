"""`h5scene merge`: the scenes of many files in one."""

from __future__ import annotations

import click

from h5scene.cli.common import counted, show_lines, size, work_bar
from h5scene.cli.tables import print_json
from h5scene.cli.text_safety import printable


@click.command("merge")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(exists=True), metavar="INPUT…")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Merge into this file, which is created if there is none.",
)
@click.option(
    "--renumber",
    is_flag=True,
    help="Give the scenes the next free numbers; their property merged_from says what they were.",
)
@click.option(
    "--move",
    is_flag=True,
    help="Remove each input once all of its scenes are merged and verified.",
)
@click.option("--verify", is_flag=True, help="Read everything again afterwards, and compare.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def command(
    inputs: tuple[str, ...],
    output: str,
    renumber: bool,
    move: bool,
    verify: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Merges the scenes of many files into one.

    INPUT is a scene file, or a directory of them, such as the shards that the jobs of an array have
    written. Nothing is unpacked on the way. Others may read FILE, and write to it, meanwhile. A
    command that was interrupted goes on when it is given again.

    Scenes keep their names; if two of them have the same, all of these are listed and nothing is
    merged. Inputs that are still being written, or cannot be read, are named and left out.

    \b
    Examples:
      h5scene merge run1.h5 run2.h5 -o all.h5
      h5scene merge */plume.h5 -o all.h5 --renumber
      h5scene merge all.h5.shards -o all.h5 --move

    Exit status: 0 all merged; 1 something was left out, and is named, or nothing was merged; 2
    wrong arguments.
    """
    from h5scene.errors import MergeConflictError
    from h5scene.handling.merging import merge

    try:
        with work_bar("Merging", is_bytes=True, is_quiet=quiet or as_json) as bar:
            done = merge(
                inputs,
                output,
                ids="renumber" if renumber else "keep",
                move=move,
                verify=verify,
                on_progress=bar,
            )
    except MergeConflictError as error:
        show_lines("Names that are taken:", list(error.conflicts), most=1000)
        raise
    is_already = set(done.already)
    if as_json:
        print_json(
            {
                "output": done.output,
                "scenes": [
                    {
                        "file": file,
                        "scene": scene,
                        "new_name": name,
                        "already": (file, scene) in is_already,
                    }
                    for (file, scene), name in done.scenes.items()
                ],
                "problems": [
                    {"path": path, "message": message} for path, message in done.problems.items()
                ],
                "removed": list(done.removed),
                "stored_bytes": done.stored_bytes,
                "seconds": done.seconds,
            }
        )
        return 1 if done.problems else 0
    if renumber:
        for (file, scene), name in done.scenes.items():
            click.echo(printable(f"{file}/{scene} -> {name}"))
    show_lines("Problems:", [f"{one}: {why}" for one, why in done.problems.items()], most=1000)
    merged = len(done.scenes) - len(done.already)
    files = len({file for file, _ in done.scenes})
    line = (
        f"Merged {counted(merged, 'scene')} of {counted(files, 'file')} into {done.output}, "
        f"{size(done.stored_bytes)} in {done.seconds:.1f} s"
    )
    if done.already:
        line += f"; {len(done.already):,} there already"
    if (verify or move) and not done.problems:
        line += "; verified"
    if done.removed:
        line += f"; {counted(len(done.removed), 'file')} removed"
    if done.problems:
        line += f"; {counted(len(done.problems), 'problem')}"
    click.echo(printable(line))
    return 1 if done.problems else 0
