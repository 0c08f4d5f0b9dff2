"""Whole trees of scene directories into a scene file, and out of one."""

from __future__ import annotations

import glob
import os
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h5scene.dask_tasks import checked_client, on_workers
from h5scene.errors import (
    H5SceneError,
    InvalidInputError,
    InvalidNameError,
    NotFoundError,
    SceneNotFoundError,
    UnsafeFileError,
)
from h5scene.format import names
from h5scene.interop import stored
from h5scene.interop.comparing import differences
from h5scene.interop.description_json import DESCRIPTION_FILE
from h5scene.interop.exporting import ScenePlan, export_scene, plan_scene
from h5scene.interop.importing import import_scene
from h5scene.interop.processes import in_processes
from h5scene.interop.safe_files import (
    PART_SUFFIX,
    ignores_case,
    is_device_name,
    translated,
)
from h5scene.interop.scene_content import SceneContent, frame_of_file, scan_scene
from h5scene.interop.sidecar import FOLDER
from h5scene.interop.transfer import (
    Options,
    Progress,
    Report,
    Transfer,
    choice,
    limit_or_default,
)
from h5scene.paths import scene_file_path
from h5scene.scene_file import SceneFile

if TYPE_CHECKING:
    from h5scene.format.filters import Compression
    from h5scene.store import Durability

Listen = Callable[[Transfer], Any]
Run = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterator[tuple[Any, int]]]


def import_scenes(
    directory: str | os.PathLike[str],
    file: str | os.PathLike[str],
    *,
    scenes: str | Sequence[str] | None = None,
    fields: str | Sequence[str] | None = None,
    frames: Iterable[int] | slice | None = None,
    overwrite: bool = False,
    verify: bool = False,
    dry_run: bool = False,
    jobs: int = 1,
    max_array_bytes: int | None = None,
    durability: Durability = "process",
    compression: Compression = "fast",
    client: Any = None,
    on_progress: Report | None = None,
) -> Transfer:
    """Brings scene directories of PhiFlow into a scene file, with all that is in them.

    Fields become fields, bit for bit; `description.json` becomes properties, `log_*.txt` curves,
    and every other file is attached. Nothing in the directory can run code. What is damaged is
    named in the result, and the rest is imported.

    Args:
        directory: One scene, or a directory of scenes of any name.
        file: The scene file, which is created if it does not exist.
        scenes: Names of scenes, or patterns with `*` and `?`; all of them by default.
        fields: The same of fields.
        frames: Frame numbers, or a slice of them; all of them by default.
        overwrite: Whether frames, properties and files that the file already has are replaced.
            They are left alone by default, so that an import that was interrupted goes on.
        verify: Whether to read everything again afterwards and compare.
        dry_run: Whether only to look, and to write nothing.
        jobs: Number of processes, each of which works on one scene at a time.
        max_array_bytes: How large an array or file may be; a quarter of the memory by default.
        durability: As of `SceneFile`.
        compression: As of `SceneFile`.
        client: A `dask.distributed.Client`, whose workers do the work in place of `jobs` processes.
            They must see both directories under the same paths.
        on_progress: Is told how far the work is, after every few files.

    Durability:
        Frames are committed in transactions of up to 64 MiB. When the process dies, those that were
        committed are there, and the next import adds what is missing.

    Returns:
        What was done, and what could not be.

    Raises:
        NotFoundError: There is no such directory, or no scene of the names.
        InvalidInputError: An argument makes no sense.
        NotASceneFileError: `file` is a file of another kind.
        ReadOnlyError: The file cannot be written.
        BusyError: Another process is writing and did not finish within a minute.
        StorageError: The disk is full or failed, or workers died of a scene again and again.

    Example:
        >>> from phi.field import Scene as PhiScene
        >>> PhiScene.create("runs").put_property("viscosity", 0.1)
        >>> import_scenes("runs", "runs.h5").scenes
        ['sim_000000']
    """
    start = time.perf_counter()
    options = Options(
        choice(scenes, fields, frames),
        overwrite,
        verify,
        limit_or_default(max_array_bytes),
        durability,
        compression,
    )
    _check_jobs(jobs)
    run: Run = partial(in_processes, count=jobs)
    if client is not None:
        if jobs != 1:
            raise InvalidInputError(f"got jobs={jobs} and a client; give one of them")
        run = partial(on_workers, checked_client(client))
    found = find_scenes(Path(directory), options)
    done = Transfer(notes=found.notes)
    for path, error in found.problems:
        done.fail(path, error)
    meter = _Meter(on_progress, len(found.scenes), sum(scene.size_bytes for scene in found.scenes))
    target = scene_file_path(file)
    if dry_run:
        _list_only(found.scenes, done)
    elif client is None and (jobs == 1 or len(found.scenes) < 2):
        with SceneFile(target, durability=durability, compression=compression) as opened:
            for content in found.scenes:
                done.add(_import_one(content, opened, options, meter.advance))
                meter.scene_done()
    else:
        _import_in_parallel(found.scenes, target, options, done, run, meter)
    done.scenes.sort()
    done.is_verified = verify and not dry_run
    done.seconds = time.perf_counter() - start
    return done


def export_scenes(
    file: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    scenes: str | Sequence[str] | None = None,
    fields: str | Sequence[str] | None = None,
    frames: Iterable[int] | slice | None = None,
    overwrite: bool = False,
    verify: bool = False,
    dry_run: bool = False,
    jobs: int = 1,
    max_array_bytes: int | None = None,
    on_plan: Listen | None = None,
    on_progress: Report | None = None,
) -> Transfer:
    """Writes scenes of a scene file as directories that PhiFlow reads, with all that is in them.

    What npz cannot hold is kept beside the npz files, in `_h5scene/`, where `import_scenes` finds
    it again; `beside` of the result lists it.

    Args:
        file: The scene file.
        directory: Gets a directory for each scene; it is created if it does not exist.
        scenes: Names of scenes, or patterns with `*` and `?`; all of them by default.
        fields: The same of fields.
        frames: Frame numbers, or a slice of them; all of them by default.
        overwrite: Whether files that exist are replaced. They are left alone by default, so that
            an export that was interrupted goes on.
        verify: Whether to read everything again afterwards and compare.
        dry_run: Whether only to look, and to write nothing.
        jobs: Number of processes, each of which works on one scene at a time.
        max_array_bytes: How large an array may be that is read again to verify it.
        on_plan: Is given what npz cannot hold, before anything is written.
        on_progress: Is told how far the work is, after every frame.

    Durability:
        A file appears under its name when it is complete: a process that dies leaves no half one.
        A power loss within seconds may; export again with `overwrite` then.

    Returns:
        What was done, and what could not be.

    Raises:
        NotFoundError: There is no such file, or no scene of the names.
        InvalidInputError: An argument makes no sense.
        NotASceneFileError: `file` is a file of another kind.
        UnsafeFileError: The directory of a scene is a link.
        ReadOnlyError: The directory cannot be written.
        StorageError: The disk is full or failed.

    Example:
        >>> import h5scene
        >>> scene = h5scene.Scene.create("runs.h5")
        >>> scene.write(smoke=CenteredGrid(1.0, 0, x=4, y=3))
        >>> export_scenes("runs.h5", "runs").frames
        1
        >>> from phi.field import Scene as PhiScene
        >>> PhiScene.at("runs", 0).fieldnames
        ('smoke',)
    """
    start = time.perf_counter()
    options = Options(
        choice(scenes, fields, frames), overwrite, verify, limit_or_default(max_array_bytes)
    )
    _check_jobs(jobs)
    target = Path(directory)
    done = Transfer()
    with SceneFile(file, "r") as opened:
        insensitive = False
        if not dry_run:
            with translated(target, "make"):
                target.mkdir(parents=True, exist_ok=True)
            insensitive = ignores_case(target)
        plans = []
        for scene, place in _places(opened, options, done, insensitive).items():
            try:
                plan = plan_scene(opened, scene, place, options, ignores_case=insensitive)
            except H5SceneError as error:
                done.fail(f"{opened.path}/{scene}", error)
                continue
            done.beside += [f"{scene}: {line}" for line in plan.beside]
            plans.append(plan)
        if on_plan is not None:
            on_plan(done)
        meter = _Meter(on_progress, len(plans), sum(plan.size_bytes for plan in plans))
        if dry_run:
            for plan in plans:
                done.scenes.append(plan.scene)
                done.frames += len(plan.frames)
                done.files += len(plan.files) + len(plan.logs) + len(plan.arrays)
                done.bytes += plan.size_bytes
        elif jobs == 1 or len(plans) < 2:
            for plan in plans:
                done.add(_export_one(opened, plan, target, options, meter.advance))
                meter.scene_done()
        else:
            tasks = [(opened.path, plan, target, options) for plan in plans]
            for result, index in in_processes(_export_task, tasks, jobs):
                done.add(result)
                meter.advance(plans[index].size_bytes)
                meter.scene_done()
    done.scenes.sort()
    done.is_verified = verify and not dry_run
    done.seconds = time.perf_counter() - start
    return done


# --- which scenes ---------------------------------------------------------------------------------


@dataclass
class Found:
    """Scene directories, and what was seen beside them."""

    scenes: list[SceneContent] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[tuple[Path, H5SceneError]] = field(default_factory=list)


def find_scenes(directory: Path, options: Options) -> Found:
    """Returns the scenes in a directory, or the one that it is.

    Raises:
        NotFoundError: There is no such directory, or no scene in it.
    """
    if not directory.is_dir():
        raise NotFoundError(f"there is no directory {directory} to import", file=str(directory))
    found = Found()
    directory = directory.resolve()
    if _is_scene(directory):
        _add_scene(found, directory, options, is_only=True)
    else:
        for entry in sorted(directory.iterdir()):
            if entry.is_symlink():
                found.problems.append((entry, UnsafeFileError("a link; it was not followed")))
            elif not entry.is_dir():
                if not entry.name.endswith(PART_SUFFIX):
                    found.notes.append(f"{entry.name} belongs to no scene; it is left out")
            elif options.choice.has_scene(entry.name):
                if not _is_scene(entry) and _holds_scenes(entry):
                    message = "it holds scenes itself; import it by itself"
                    found.problems.append((entry, InvalidInputError(message)))
                else:
                    _add_scene(found, entry, options, is_only=False)
    if not found.scenes and not found.problems:
        raise SceneNotFoundError(
            f"no scene to import in {directory}; name a scene directory, or one that holds some"
        )
    return found


def _add_scene(found: Found, directory: Path, options: Options, *, is_only: bool) -> None:
    """Adds a scene directory."""
    content = scan_scene(directory, directory.name, options.limit_bytes)
    try:
        names.scene_link(content.scene)
    except InvalidNameError as error:
        found.problems.append((directory, error))
        return
    if is_only or options.choice.has_scene(content.scene):
        found.scenes.append(content)


def _is_scene(directory: Path) -> bool:
    """Whether a directory is a scene, and not one of scenes."""
    series, _, number = directory.name.rpartition("_")
    is_numbered = bool(series) and number.isdecimal() and len(number) >= 6
    return _has_files_of_a_scene(directory) or (is_numbered and not _holds_scenes(directory))


def _has_files_of_a_scene(directory: Path) -> bool:
    """Whether something in a directory has a name that only scenes have."""
    try:
        with os.scandir(directory) as entries:
            return any(
                entry.name in (DESCRIPTION_FILE, FOLDER) or frame_of_file(entry.name) is not None
                for entry in entries
            )
    except OSError:
        return False


def _holds_scenes(directory: Path) -> bool:
    """Whether some directory inside is a scene."""
    try:
        with os.scandir(directory) as entries:
            inside = [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return False
    return any(map(_has_files_of_a_scene, inside))


def _places(file: SceneFile, options: Options, done: Transfer, insensitive: bool) -> dict[str, str]:
    """Returns the scenes to export, and the name of the directory of each.

    Raises:
        SceneNotFoundError: There is none of the names.
    """
    chosen = [scene for scene in file.scenes if options.choice.has_scene(scene)]
    if not chosen and options.choice.scenes is not None:
        raise SceneNotFoundError(
            f"no scene {names.quoted(options.choice.scenes)} in {file.path}; "
            f"{names.listed(file.scenes)}",
            file=file.path,
        )
    places: dict[str, str] = {}
    taken: set[str] = set()
    aside = []
    for scene in chosen:
        try:
            names.scene_link(scene)
        except InvalidNameError as error:
            done.fail(f"{file.path}/{scene!r}", UnsafeFileError(error.message))
            continue
        key = scene.casefold() if insensitive else scene
        is_name = not is_device_name(scene) and len(scene.encode()) <= 240 and scene != FOLDER
        if is_name and key not in taken:
            places[scene] = scene
            taken.add(key)
        else:
            aside.append(scene)
    number = 0
    for scene in aside:
        while (place := f"scene-{number:06d}") in taken:
            number += 1
        taken.add(place)
        places[scene] = place
        done.beside.append(f"{scene}: its name; the directory is {place}")
    return dict(sorted(places.items()))


# --- the work -------------------------------------------------------------------------------------


def _import_one(
    content: SceneContent, file: SceneFile, options: Options, advance: Callable[[int], Any]
) -> Transfer:
    """Imports a scene, and compares it if that is asked for."""
    done = import_scene(content, file, options, advance)
    if options.is_verifying:
        known = {problem.path for problem in done.problems}
        for path, error in differences(content, file, options, is_export=False):
            if str(content.path / path) not in known:
                done.fail(content.path / path, error)
    return done


def _export_one(
    file: SceneFile,
    plan: ScenePlan,
    target: Path,
    options: Options,
    advance: Callable[[int], Any],
) -> Transfer:
    """Exports a scene, and compares it if that is asked for."""
    done = export_scene(file, plan, target, options, advance)
    if options.is_verifying and not done.problems:
        content = scan_scene(target / plan.directory, plan.scene, options.limit_bytes)
        for path, error in content.problems:
            done.fail(content.path / path, error)
        for path, error in differences(content, file, options, is_export=True):
            done.fail(content.path / path, error)
    return done


def _list_only(scenes: list[SceneContent], done: Transfer) -> None:
    """Adds what an import would do."""
    for content in scenes:
        done.scenes.append(content.scene)
        done.frames += len(content.frames)
        done.files += len(content.others)
        done.bytes += content.size_bytes
        done.notes += [f"{content.scene}: {note}" for note in content.notes]
        for path, error in content.problems:
            done.fail(content.path / path, error)


def _import_in_parallel(
    scenes: list[SceneContent],
    target: str,
    options: Options,
    done: Transfer,
    run: Run,
    meter: _Meter,
) -> None:
    """Imports new scenes into files of their own, elsewhere, and moves them into the target.

    Their chunks are copied as they are, which takes a tenth of the time of packing them. Scenes
    that the target has already are imported here.
    """
    with SceneFile(
        target, durability=options.durability, compression=options.compression
    ) as opened:
        known = [content for content in scenes if opened.has_scene(content.scene)]
        new = [content for content in scenes if not opened.has_scene(content.scene)]
        folder = _own_folder(Path(target).absolute())
        try:
            tasks = [(content, folder, options) for content in new]
            for (result, path), index in run(_import_task, tasks):
                content = new[index]
                with SceneFile(path, "r") as part:
                    stored.adopt_scene(opened, part, content.scene)
                path.unlink()
                done.add(result)
                meter.advance(content.size_bytes)
                meter.scene_done()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        for content in known:
            done.add(_import_one(content, opened, options, meter.advance))
            meter.scene_done()


def _own_folder(target: Path) -> Path:
    """Returns a new directory beside a file; those of processes that were killed are removed.

    Beside the file there is room, and nothing else is as near.
    """
    begin, host = f".{target.name}.", platform.node() or "here"
    for old in target.parent.glob(f"{glob.escape(begin)}*{PART_SUFFIX}"):
        parts = old.name[len(begin) : -len(PART_SUFFIX)].rsplit(".", 1)
        if (
            len(parts) == 2
            and parts[0] == host
            and parts[1].isdecimal()
            and _is_dead(int(parts[1]))
        ):
            shutil.rmtree(old, ignore_errors=True)
    folder = target.with_name(f"{begin}{host}.{os.getpid()}{PART_SUFFIX}")
    with translated(folder, "make"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    return folder


def _is_dead(process: int) -> bool:
    """Whether there is no process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _import_task(content: SceneContent, folder: Path, options: Options) -> tuple[Transfer, Path]:
    """Imports a scene into a new file, in another process; returns the path of the file as well.

    A worker of a cluster that is taken for dead may still be at the same task: it writes to another
    file.
    """
    for place in (folder, content.path):
        if not place.is_dir():
            raise NotFoundError(
                f"there is no directory {place} on {platform.node()}; the workers must see the "
                "same files as whoever starts the import"
            )
    path = folder / f"{uuid.uuid4().hex}.h5"
    with SceneFile(path, "x", compression=options.compression, workers=1) as part:
        return _import_one(content, part, options, lambda _: None), path


def _export_task(path: str, plan: ScenePlan, target: Path, options: Options) -> Transfer:
    """Exports a scene in a process of its own."""
    with SceneFile(path, "r", workers=1) as opened:
        return _export_one(opened, plan, target, options, lambda _: None)


class _Meter:
    """Adds up how far the work is, and says so."""

    def __init__(self, report: Report | None, scene_count: int, byte_count: int):
        self._report = report
        self._scenes = 0
        self._bytes = 0
        self._scene_count = scene_count
        self._byte_count = byte_count
        self._tell()

    def advance(self, count: int) -> None:
        """Adds bytes that are done."""
        self._bytes += count
        self._tell()

    def scene_done(self) -> None:
        """Adds a scene that is done."""
        self._scenes += 1
        self._tell()

    def _tell(self) -> None:
        if self._report is not None:
            state = Progress(self._scenes, self._scene_count, self._bytes, self._byte_count)
            self._report(state)


def _check_jobs(jobs: int) -> None:
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise InvalidInputError(f"jobs must be a number of processes, not {jobs!r}")
