"""`h5scene rm`: scenes, fields, frames and attached files out of a file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from h5scene.cli.common import FramesType, counted
from h5scene.cli.text_safety import printable

if TYPE_CHECKING:
    from h5scene.handling.addresses import Address
    from h5scene.scene_file import SceneFile


@dataclass(frozen=True)
class _Target:
    """What to remove: a scene, or a field, frames of it, or an attached file."""

    scene: str
    field: str | None = None
    frames: tuple[int, ...] | None = None
    attached: str | None = None
    words: str = ""

    @property
    def is_scene(self) -> bool:
        """Whether it is a whole scene."""
        return self.field is None and self.attached is None


@click.command("rm")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--frames",
    type=FramesType(),
    help="Of fields only these frames: 7, or 0,5,10, or START:STOP:STEP.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be removed.")
def command(paths: tuple[str, ...], frames: Any, yes: bool, dry_run: bool) -> int:
    """Removes scenes, fields, frames or attached files. There is no way back.

    PATH is FILE/SCENE, FILE/SCENE/FIELD, FILE/SCENE/FIELD/FRAME or FILE/SCENE/NAME of an attached
    file. Of one file everything is removed at once, or nothing. A scene that was merged, and is
    still in its shard, is removed from both. The file does not become smaller; `h5scene repack`
    gives the space back.

    \b
    Examples:
      h5scene rm runs.h5/sim_000003
      h5scene rm runs.h5/sim_000000/pressure runs.h5/sim_000001/pressure --yes
      h5scene rm runs.h5/sim_000000/smoke --frames 0:100 --dry-run

    Exit status: 0 removed, or would be; 1 something does not exist or cannot be written, or you
    said no: nothing of that file was removed; 2 wrong arguments.
    """
    from h5scene.handling.addresses import find_address
    from h5scene.scene_file import SceneFile

    by_file: dict[str, list[Address]] = {}
    copies: dict[str, list[str]] = {}
    for path in paths:
        address = find_address(path)
        if not address.parts:
            raise click.UsageError(
                f"{path} is a whole file; remove it as other files, or name a scene in it"
            )
        by_file.setdefault(address.file, []).append(address)
    plans = {}
    for name, addresses in by_file.items():
        with SceneFile(name, "r") as file:
            plans[name] = [_target(file, address, frames) for address in addresses]
        for address, target in zip(addresses, plans[name], strict=True):
            if target.is_scene and address.sharded is not None:
                for other in address.sharded.copies_of(target.scene, name):
                    copies.setdefault(other, []).append(target.scene)
    said = "Would remove" if dry_run else "Removing" if yes else "To be removed:"
    for name, targets in plans.items():
        for target in targets:
            click.echo(printable(f"{said} {name}/{target.words}"), err=not dry_run)
    for name, scenes in copies.items():
        for scene in scenes:
            click.echo(printable(f"{said} {name}/{scene}: merged copy of it"), err=not dry_run)
    if dry_run:
        return 0
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("add --yes to remove this without being asked")
        if not click.confirm("Remove it for good?", err=True):
            click.echo("Nothing was removed.", err=True)
            return 1
    for name, scenes in copies.items():  # first: the older ones are never left alone
        with SceneFile(name, "r+") as file:
            file.remove_scenes(scenes)
    for name, targets in plans.items():
        with SceneFile(name, "r+") as file, file.transaction():
            for target in targets:
                _remove(file, target)
    count = sum(map(len, plans.values()))
    click.echo(f"Removed {counted(count, 'item')}; h5scene repack gives the space back")
    return 0


def _target(file: SceneFile, address: Address, frames: Any) -> _Target:
    """Returns what an address means."""
    from h5scene.errors import FieldNotFoundError, FrameNotFoundError, NotFoundError
    from h5scene.format import names
    from h5scene.handling.addresses import frame_of, scene_of

    scene, parts = scene_of(file, address.parts[0]), address.parts[1:]
    fields = file.frames(scene)
    if not parts:
        if frames is not None:
            raise click.UsageError("--frames needs fields; name one, such as FILE/SCENE/FIELD")
        total = sum(map(len, fields.values()))
        words = f"{scene}: {counted(len(fields), 'field')}, {counted(total, 'frame')}"
        return _Target(scene, words=f"{words}, and all else that is in it")
    attached = "/".join(parts)
    if attached in file.files(scene):
        return _Target(scene, attached=attached, words=f"{scene}/{attached}: attached file")
    where = f"{file.path}/{scene}"
    try:
        field = names.find_field(fields, parts[0], where)
    except FieldNotFoundError as error:
        if len(parts) == 1:
            raise
        raise NotFoundError(f"no field or attached file {attached!r} in {where}") from error
    stored = fields[field]
    if len(parts) > 2:
        raise NotFoundError(f"no attached file {attached!r} in {where}")
    if len(parts) == 2:
        frames = [frame_of(parts[1])]
    if frames is None:
        return _Target(scene, field, words=f"{scene}/{field}: {counted(len(stored), 'frame')}")
    if isinstance(frames, slice):
        wanted = range(stored[-1] + 1 if stored else 0)[frames]
        chosen = tuple(frame for frame in stored if frame in wanted)
    else:
        chosen = tuple(frames)
        missing = [frame for frame in chosen if frame not in set(stored)]
        if missing:
            raise FrameNotFoundError(
                f"no frame {missing[0]} of {field!r} in {where}; `h5scene ls {where}/{field}` "
                "lists them"
            )
    if not chosen:
        raise FrameNotFoundError(f"no frame of {field!r} in {where} is one of those")
    listed = ", ".join(map(str, chosen[:8])) + (" …" if len(chosen) > 8 else "")
    words = f"{scene}/{field}: {counted(len(chosen), 'frame')} ({listed}) of {len(stored):,}"
    return _Target(scene, field, chosen, words=words)


def _remove(file: SceneFile, target: _Target) -> None:
    """Removes one thing."""
    if target.attached is not None:
        file.remove_file([target.scene], target.attached)
    elif target.field is None:
        file.remove_scenes([target.scene])
    elif target.frames is None:
        file.remove_fields(target.scene, [target.field])
    else:
        file.remove_frames(target.scene, target.field, target.frames)
