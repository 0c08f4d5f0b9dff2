"""`h5scene ls`: the scenes, fields and frames of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from h5scene.cli.common import counted, size, work_bar
from h5scene.cli.tables import is_terminal, print_columns, print_json
from h5scene.cli.text_safety import printable
from h5scene.cli.texts import (
    field_json,
    field_row,
    file_json,
    properties_text,
    scene_json,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from h5scene.handling.summaries import SceneSummary
    from h5scene.scene_file import SceneFile
    from h5scene.shards import ShardedFile

_MOST = 40
_TITLES = ("scene", "field", "shape", "dtype", "frames", "on disk", "ratio")


@click.command("ls")
@click.argument("path")
@click.option("-a", "--all", "is_all", is_flag=True, help=f"All rows, not only the first {_MOST}.")
@click.option("-1", "--names", is_flag=True, help="Only names, one a line, all of them.")
@click.option(
    "--exact",
    is_flag=True,
    help="Measure every frame. By default a few of each field are, and the sizes marked with ~ are "
    "what these let expect.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: all rows, exact numbers.")
def command(path: str, is_all: bool, names: bool, exact: bool, as_json: bool) -> int:
    """Lists the scenes of a file, the fields of a scene, or the frames of a field.

    PATH is FILE, FILE/SCENE or FILE/SCENE/FIELD, such as runs.h5/sim_000000/smoke. A number stands
    for a scene of the series sim: runs.h5/0. The shards of a file are listed as if they were in it.

    "on disk" is what the values take in the file, "ratio" how many times less than in memory.

    \b
    Examples:
      h5scene ls runs.h5
      h5scene ls runs.h5/sim_000000
      h5scene ls -1 runs.h5 | wc -l

    Exit status: 0 listed; 1 something is damaged, and is named, or cannot be read; 2 wrong
    arguments.
    """
    from h5scene.handling.addresses import find_files, scene_of
    from h5scene.scene_file import SceneFile
    from h5scene.shards import ShardedFile

    address = find_files(path)
    sharded = ShardedFile(address.file)
    if not address.parts and sharded.shards:
        return _list_shards(sharded, is_all=is_all, names=names, exact=exact, as_json=as_json)
    with SceneFile(address.file, "r") as file:
        if not address.parts:
            return _list_file(file, is_all=is_all, names=names, exact=exact, as_json=as_json)
        scene = scene_of(file, address.parts[0])
        if len(address.parts) == 1:
            return _list_scene(file, scene, names=names, exact=exact, as_json=as_json)
        if len(address.parts) > 2:
            raise click.UsageError(f"{path} is no file, scene or field; try: h5scene info {path}")
        return _list_field(
            file, scene, address.parts[1], is_all=is_all, names=names, as_json=as_json
        )


def _list_file(file: SceneFile, *, is_all: bool, names: bool, exact: bool, as_json: bool) -> int:
    """Lists the scenes of a file."""
    from h5scene.handling.summaries import summarize_file, summarize_scenes

    if names:
        print_names(file.scenes)
        return 0
    about = summarize_file(file)
    all_scenes = file.scenes
    shown = all_scenes if is_all or as_json else all_scenes[:_MOST]
    with work_bar("Measuring") as bar:
        scenes = summarize_scenes(file, shown, is_exact=exact, on_progress=bar)
    if as_json:
        print_json(
            {
                **file_json(about),
                "scenes": [scene_json(scene) for scene in scenes],
            }
        )
        return _status(scenes)
    heading = (
        f"{about.path}: {counted(about.scene_count, 'scene')}, {size(about.size_bytes)}, "
        f"format {about.format_version}, made by {about.creator}"
    )
    return _print_list(heading, scenes, all_scenes)


def _list_shards(
    sharded: ShardedFile, *, is_all: bool, names: bool, exact: bool, as_json: bool
) -> int:
    """Lists the scenes of a file and its shards."""
    from h5scene.handling.summaries import summarize_scenes
    from h5scene.scene_file import SceneFile

    places = sharded.scenes()
    if names:
        print_names(places)
        return 0
    shown = list(places) if is_all or as_json else list(places)[:_MOST]
    by_file: dict[str, list[str]] = {}
    for scene in shown:
        by_file.setdefault(places[scene], []).append(scene)
    summaries: dict[str, SceneSummary] = {}
    with work_bar("Listing") as bar:
        for path, chosen in by_file.items():
            with SceneFile(path, "r") as file:
                found = summarize_scenes(file, chosen, is_exact=exact)
            summaries |= {one.name: one for one in found}
            if bar is not None:
                bar(len(summaries), len(shown))
    scenes = [summaries[scene] for scene in shown]
    files = [path for path in (sharded.path, *sharded.shards) if Path(path).exists()]
    size_bytes = sum(Path(path).stat().st_size for path in files)
    if as_json:
        print_json(
            {
                "file": sharded.path,
                "size_bytes": size_bytes,
                "scene_count": len(places),
                "shards": list(sharded.shards),
                "scenes": [{**scene_json(one), "in": places[one.name]} for one in scenes],
            }
        )
        return _status(scenes)
    heading = (
        f"{sharded.path}: {counted(len(places), 'scene')} in "
        f"{'the file and ' if sharded.path in files else ''}"
        f"{counted(len(sharded.shards), 'shard')}, {size(size_bytes)}"
    )
    return _print_list(heading, scenes, list(places))


def _print_list(heading: str, scenes: list[SceneSummary], all_scenes: Sequence[str]) -> int:
    """Prints the first scenes of a file, or all of them, and returns the exit status."""
    click.echo(printable(heading))
    if scenes:
        click.echo()
        print_scenes(scenes)
    left = len(all_scenes) - len(scenes)
    if left:
        last = printable(all_scenes[-1])
        click.echo(f"… and {counted(left, 'more scene')}, up to {last}; --all lists them")
    return _status(scenes)


def _list_scene(file: SceneFile, scene: str, *, names: bool, exact: bool, as_json: bool) -> int:
    """Lists the fields of a scene, and what else is in it."""
    from h5scene.handling.summaries import summarize_scenes

    if names:
        print_names(file.fieldnames(scene))
        return 0
    (summary,) = summarize_scenes(file, [scene], is_exact=exact)
    if as_json:
        print_json({"file": file.path, **scene_json(summary)})
    else:
        print_scenes([summary])
    return _status([summary])


def _list_field(
    file: SceneFile, scene: str, name: str, *, is_all: bool, names: bool, as_json: bool
) -> int:
    """Lists the frames of a field."""
    from h5scene.handling.statistics import stored_values
    from h5scene.handling.summaries import summarize_field

    about = summarize_field(file, scene, name)
    frames = file.frames(scene)[about.name]
    if names:
        print_names([str(frame) for frame in frames])
        return 0
    times = file.times(scene)
    if as_json:
        print_json(
            {
                "file": file.path,
                "scene": scene,
                **field_json(about),
                "frames": [{"frame": frame, "time": times.get(frame)} for frame in frames],
            }
        )
        return 0
    shown = frames if is_all else frames[:_MOST]
    rows = []
    for frame in shown:
        stored = stored_values(file, scene, name, frame)
        shape = "×".join(map(str, stored.shape)) or "()"
        time = f"{times[frame]:g}" if frame in times else ""
        rows.append([str(frame), time, shape, str(stored.dtype), size(stored.stored_bytes)])
    click.echo(f"{file.path}/{scene}/{about.name}: {counted(len(frames), 'frame')}\n")
    print_columns(("frame", "time", "shape", "dtype", "on disk"), rows, right=(0, 1, 4))
    if len(shown) < len(frames):
        left = len(frames) - len(shown)
        click.echo(f"… and {counted(left, 'more frame')}, up to {frames[-1]}; --all lists them")
    return 0


def print_scenes(scenes: list[SceneSummary]) -> None:
    """Prints the fields of scenes, and what else is in them."""
    rows: list[list[str]] = []
    for scene in scenes:
        first = scene.name
        for field in scene.fields:
            rows.append([first, *field_row(field)])
            first = ""
        if first:
            rows.append([first, "(no fields)"])
        notes = _notes(scene)
        if notes:
            rows.append([f"  {notes}"])
        problems = [f"{field.name}: {field.problem}" for field in scene.fields if field.problem]
        rows += [[f"  damaged: {problem}"] for problem in filter(None, [scene.problem, *problems])]
    print_columns(
        _TITLES,
        [row + [""] * (7 - len(row)) if len(row) > 1 else row for row in rows],
        right=(5, 6),
        flexible=(0, 1, 2),
    )


def _notes(scene: SceneSummary) -> str:
    """Returns what is in a scene beside its fields, in short."""
    parts = [properties_text(scene.properties, 5)] if scene.properties else []
    for count, noun in (
        (len(scene.files), "attached file"),
        (len(scene.curves), "curve"),
        (len(scene.arrays), "plain array"),
    ):
        if count:
            parts.append(counted(count, noun))
    if scene.is_timed:
        parts.append("times")
    return "; ".join(parts)


def print_names(names: Any) -> None:
    """Prints names, one a line."""
    for name in names:
        click.echo(printable(name) if is_terminal() else name)


def _status(scenes: list[SceneSummary]) -> int:
    """Returns the exit status: whether anything is damaged."""
    is_damaged = any(s.problem or any(f.problem for f in s.fields) for s in scenes)
    return 1 if is_damaged else 0
