"""`h5scene info`: everything about a file, a scene, a field or a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from h5scene.cli.common import counted, size, work_bar
from h5scene.cli.ls import print_scenes
from h5scene.cli.tables import print_columns, print_facts, print_json, print_picture
from h5scene.cli.texts import (
    boundary_text,
    field_json,
    file_json,
    frame_text,
    geometry_json,
    geometry_text,
    json_text,
    ratio_text,
    scene_json,
    size_text,
    value_text,
)

if TYPE_CHECKING:
    from h5scene.handling.statistics import Statistics, StoredValues
    from h5scene.scene_file import SceneFile

_MOST_SCENES = 200
_PICTURE_VALUES = 64
_KNOWN = ("field_type", "dims", "axes", "lower", "upper", "boundary", "name")


@click.command("info")
@click.argument("path")
@click.option("--exact", is_flag=True, help="Measure every frame, not only a few of each field.")
@click.option("--no-picture", is_flag=True, help="No picture of the values.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(path: str, exact: bool, no_picture: bool, as_json: bool) -> int:
    """Says everything about one thing: a file, a scene, a field or a frame.

    PATH is FILE, FILE/SCENE, FILE/SCENE/FIELD or FILE/SCENE/FIELD/FRAME. Of a field or frame, the
    description, statistics of the values, and a small picture of them are shown; of a field, those
    of its last frame.

    \b
    Examples:
      h5scene info runs.h5
      h5scene info runs.h5/sim_000000/smoke/20
      h5scene info runs.h5/0/smoke --json

    Exit status: 0 all was said; 1 it does not exist, is damaged, or cannot be read; 2 wrong
    arguments.
    """
    from h5scene.handling.addresses import find_address, frame_of, scene_of
    from h5scene.scene_file import SceneFile

    address = find_address(path)
    with SceneFile(address.file, "r") as file:
        if not address.parts:
            return _about_file(file, exact=exact, as_json=as_json)
        scene = scene_of(file, address.parts[0])
        if len(address.parts) == 1:
            return _about_scene(file, scene, exact=exact, as_json=as_json)
        if len(address.parts) > 3:
            raise click.UsageError(f"{path} names more than a frame; to see a file: h5scene cat")
        frame = frame_of(address.parts[2]) if len(address.parts) == 3 else None
        return _about_field(
            file, scene, address.parts[1], frame,
            exact=exact, has_picture=not no_picture, as_json=as_json,
        )  # fmt: skip


def _about_file(file: SceneFile, *, exact: bool, as_json: bool) -> int:
    """Says everything about a file."""
    from h5scene.handling.summaries import StoredSize, summarize_file, summarize_scenes

    about = summarize_file(file)
    scenes = file.scenes
    is_measured = exact or len(scenes) <= _MOST_SCENES
    with work_bar("Measuring") as bar:
        found = summarize_scenes(file, is_exact=exact, on_progress=bar) if is_measured else []
    total = sum((scene.size for scene in found), StoredSize())
    problems = [s.name for s in found if s.problem or any(f.problem for f in s.fields)]
    if as_json:
        print_json(
            {
                **file_json(about),
                "first_scene": scenes[0] if scenes else None,
                "last_scene": scenes[-1] if scenes else None,
                "frame_count": (
                    sum(field.frame_count for s in found for field in s.fields)
                    if is_measured
                    else None
                ),
                "stored_bytes": total.stored_bytes if is_measured else None,
                "value_bytes": total.value_bytes if is_measured else None,
                "is_exact": total.is_exact if is_measured else None,
                "damaged_scenes": problems,
            }
        )
        return 1 if problems else 0
    names = sorted({field.name for s in found for field in s.fields})
    facts = [
        ("file", about.path),
        ("length", f"{size(about.size_bytes)} ({about.size_bytes:,} bytes)"),
        ("format", f"{about.format_version}, made by {about.creator}"),
        ("scenes", f"{about.scene_count:,}" + (f", {scenes[0]} to {scenes[-1]}" if scenes else "")),
    ]
    if is_measured:
        frames = sum(field.frame_count for s in found for field in s.fields)
        facts += [
            ("fields", ", ".join(names) or "none"),
            ("frames", f"{frames:,} of all fields and scenes"),
            ("values", _size_line(total)),
            (
                "other",
                f"{size(max(about.size_bytes - total.stored_bytes, 0))}: descriptions, indexes, "
                "attached files, and gaps (h5scene repack closes them)",
            ),
        ]
    else:
        facts.append(("values", "not measured in so many scenes; --exact does"))
    if problems:
        facts.append(("damaged", ", ".join(problems)))
    print_facts(facts)
    return 1 if problems else 0


def _about_scene(file: SceneFile, scene: str, *, exact: bool, as_json: bool) -> int:
    """Says everything about a scene."""
    from h5scene.handling.summaries import attached_sizes, json_value, summarize_scenes

    with work_bar("Measuring") as bar:
        (about,) = summarize_scenes(file, [scene], is_exact=exact, on_progress=bar)
    times = file.times(scene)
    curves = file.curves(scene)
    sizes = attached_sizes(file, scene)
    is_damaged = bool(about.problem or any(field.problem for field in about.fields))
    if as_json:
        print_json(
            {
                "file": file.path,
                **scene_json(about),
                "files": [{"name": name, "bytes": sizes[name]} for name in about.files],
                "curves": [
                    {"name": name, "steps": len(curve.steps)} for name, curve in curves.items()
                ],
                "times": [{"frame": f, "time": json_value(t)} for f, t in times.items()],
            }
        )
        return 1 if is_damaged else 0
    click.echo(f"{file.path}/{scene}\n")
    print_scenes([about])
    if about.properties:
        click.echo("\nproperties")
        print_facts([(f"  {name}", value_text(v, 400)) for name, v in about.properties.items()])
    if times:
        first, last = min(times), max(times)
        click.echo(
            f"\ntimes of {counted(len(times), 'frame')}: {times[first]:g} (frame {first}) to "
            f"{times[last]:g} (frame {last})"
        )
    if curves:
        click.echo("\ncurves")
        rows = []
        for name, curve in curves.items():
            last_value = "" if not len(curve.values) else json_text(curve.values[-1])
            rows.append([f"  {name}", f"{len(curve.steps):,}", last_value])
        print_columns(("  curve", "steps", "last value"), rows, right=(1,), flexible=(0, 2))
    if sizes:
        click.echo("\nattached files")
        rows = [[f"  {name}", size(count)] for name, count in sizes.items()]
        print_columns(("  file", "size"), rows, right=(1,), flexible=(0,))
    return 1 if is_damaged else 0


def _about_field(
    file: SceneFile,
    scene: str,
    name: str,
    frame: int | None,
    *,
    exact: bool,
    has_picture: bool,
    as_json: bool,
) -> int:
    """Says everything about a field, or one of its frames."""
    from h5scene.handling import statistics
    from h5scene.handling.summaries import json_value, read_attributes, summarize_field

    with work_bar("Measuring") as bar:
        about = summarize_field(file, scene, name, is_exact=exact, on_progress=bar)
    shown = about.last_frame if frame is None else frame
    stored = numbers = None
    rounded = 0.0
    if shown is not None:
        stored = statistics.stored_values(file, scene, about.name, shown)
        with work_bar("Reading") as bar:
            numbers = statistics.frame_statistics(file, scene, about.name, shown, on_progress=bar)
        rounded = file.max_relative_error(scene, about.name, shown)
    time = file.times(scene).get(shown) if shown is not None else None
    if as_json:
        description = stored.description if stored else read_attributes(file, scene, name)
        result = {"file": file.path, "scene": scene, **field_json(about)}
        result["description"] = json_value(description)
        result["frame"] = _frame_json(shown, time, stored, numbers, rounded) if stored else None
        print_json(result)
        return 1 if about.problem else 0
    where = f"{file.path}/{scene}/{about.name}"
    click.echo(f"{where}{'' if frame is None else f'/{frame}'}\n")
    facts = []
    if frame is None:
        frames = frame_text(about.frame_count, about.first_frame, about.last_frame)
        facts.append(("frames", f"{frames}, {about.frame_count:,} in all"))
        if about.frame_count:
            facts.append(("values", _size_line(about.size)))
        if about.objects.value_bytes:
            line = f"{_size_line(about.objects)}; what frames share is counted once"
            facts.append(("further", line))
    description = stored.description if stored else read_attributes(file, scene, name)
    facts += _description_facts(description)
    if about.problem:
        facts.append(("damaged", about.problem))
    if stored and numbers and shown is not None:
        if frame is None:
            facts.append(("", ""))
            facts.append(("last frame", str(shown)))
        facts += _frame_facts(stored, numbers, rounded, time)
    print_facts(facts)
    if has_picture and shown is not None:
        picture = statistics.small_picture(file, scene, about.name, shown, _PICTURE_VALUES)
        if picture is not None:
            values, note = picture
            click.echo(f"\n  {note}" if note else "")
            print_picture(values)
    return 1 if about.problem else 0


def _size_line(stored: Any) -> str:
    """Returns what values take, in the file and in memory."""
    text = f"{size_text(stored)} on disk, {size(stored.value_bytes)} in memory"
    ratio = ratio_text(stored)
    return f"{text}, ratio {ratio}" if ratio else text


def _description_facts(description: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns the description of a field in lines."""
    facts = [("type", str(description.get("field_type")))]
    if "name" in description:
        facts.append(("given name", str(description["name"])))
    axes = description.get("axes")
    lower, upper = (_plain(description.get(key)) for key in ("lower", "upper"))
    if isinstance(axes, list) and isinstance(lower, list) and isinstance(upper, list):
        if len(axes) == len(lower) == len(upper):
            ends = zip(axes, lower, upper, strict=True)
            facts.append(("bounds", ", ".join(f"{x} {a:g} to {b:g}" for x, a, b in ends)))
        else:
            facts.append(("bounds", f"{json_text(lower)} to {json_text(upper)}"))
    if "boundary" in description:
        facts.append(("boundary", boundary_text(description["boundary"])))
    for key, value in description.items():
        if key not in _KNOWN:
            facts.append((key, value_text(value, 200)))
    return facts


def _plain(value: Any) -> Any:
    """Returns an array as lists; all else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def _frame_facts(
    stored: StoredValues, numbers: Statistics, rounded: float, time: float | None
) -> list[tuple[str, str]]:
    """Returns what is known of the values of a frame in lines."""
    facts = []
    if time is not None:
        facts.append(("time", f"{time:g}"))
    dims = []
    for dim, count in zip(stored.dims, stored.shape, strict=True):
        labels = dim.get("labels")
        dims.append(
            f"{dim.get('name', '?')}={count}"
            + (f" ({', '.join(labels)})" if labels else "")
            + ("" if dim.get("type") in ("spatial", "channel", None) else f" {dim['type']}")
        )
    facts += [
        ("dims", ", ".join(dims) or "none"),
        ("dtype", str(stored.dtype)),
        ("size", f"{size(stored.stored_bytes)} on disk, {size(stored.value_bytes)} in memory"),
    ]
    if stored.geometry is not None:
        facts.insert(0, ("geometry", geometry_text(stored.geometry)))
    if rounded:
        facts.append(("rounded", f"by at most {rounded:.2g} of each value"))
    if numbers.finite_count:
        facts.append(("range", f"{numbers.minimum:.7g} to {numbers.maximum:.7g}"))
        facts.append(("mean", f"{numbers.mean:.7g}, standard deviation {numbers.std:.4g}"))
    bad = numbers.count - numbers.finite_count
    if bad:
        facts.append(("not finite", f"{bad:,} of {numbers.count:,} values"))
    return facts


def _frame_json(
    frame: int | None,
    time: float | None,
    stored: StoredValues,
    numbers: Statistics | None,
    rounded: float,
) -> dict[str, Any]:
    """Returns what is known of a frame as JSON values."""
    from h5scene.handling.summaries import json_value

    result: dict[str, Any] = {
        "frame": frame,
        "time": time,
        "shape": list(stored.shape),
        "dtype": str(stored.dtype),
        "stored_bytes": stored.stored_bytes,
        "value_bytes": stored.value_bytes,
        "max_relative_error": rounded,
        "geometry": geometry_json(stored.geometry),
    }
    if numbers is not None:
        for key in ("count", "finite_count", "minimum", "maximum", "mean", "std"):
            result[key] = json_value(getattr(numbers, key))
    return result
