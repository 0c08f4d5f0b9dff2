"""Scenes of many files merged into one."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from h5scene.dask_tasks import checked_client, on_workers
from h5scene.errors import (
    AlreadyExistsError,
    BusyError,
    FormatError,
    H5SceneError,
    InvalidInputError,
    MergeConflictError,
)
from h5scene.format import layout, names
from h5scene.format.groups import link_names
from h5scene.handling.merge_inputs import (
    INPUT_TIMEOUT_S,
    MergeInput,
    examined,
    input_files,
    is_same_path,
    remove_if_empty,
)
from h5scene.handling.merge_names import next_name, note_origin, origins_of
from h5scene.handling.scene_copies import Portion, SceneCopy
from h5scene.handling.verifying import CopiedScene, is_same_scene, verify_scene
from h5scene.open_file import make_directory
from h5scene.paths import scene_file_path
from h5scene.scene_file import DEFAULT_LOCK_TIMEOUT_S, SceneFile
from h5scene.store import is_being_written, only_merger, open_store

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from h5scene.format.tree import SceneTree
    from h5scene.store import Durability

Ids: TypeAlias = Literal["keep", "renumber"]

_MOST_CONFLICTS = 3  # in the message; the error has all


@dataclass(frozen=True)
class MergeReport:
    """What merging has done.

    Attributes:
        output: Path of the file that the scenes are in now.
        scenes: Names of the scenes there, by path of the input and name in it.
        already: Which of these an earlier merge had brought there.
        problems: What was left out, or is not what it should be, and why: by path of an input, or
            of a scene in one.
        removed: Paths of the inputs that were removed.
        stored_bytes: How many bytes of data were copied.
        seconds: How long it took.
    """

    output: str
    scenes: dict[tuple[str, str], str]
    already: tuple[tuple[str, str], ...]
    problems: dict[str, str]
    removed: tuple[str, ...]
    stored_bytes: int
    seconds: float


def merge(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    ids: Ids = "keep",
    move: bool = False,
    verify: bool = False,
    durability: Durability = "process",
    lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S,
    client: Any = None,
    on_progress: Callable[[int, int], object] | None = None,
) -> MergeReport:
    """Copies the scenes of many files into one, and says what became of each.

    Chunks are moved as they are, and what scenes share, such as a mesh, is stored once. The file
    may be read, and written by others, all the while. A call that was cut off goes on when it is
    repeated: what is there already, and the same, is passed over.

    Inputs that are still being written, or cannot be read, are left out, and all others merged. So
    are scenes in which something is damaged that is needed to copy them. Damaged numbers are found
    with `verify`.

    Args:
        inputs: Paths of scene files, or of directories of them, such as the shards of a file.
        output: Path of the scene file to merge into, which is created when there is none.
        ids: `keep`: scenes keep their names. `renumber`: they are numbered on from the highest
            number in the file, and their property `merged_from` says what they were.
        move: Whether to remove each input once all of its scenes are merged and verified. Commits
            then survive a power loss, whatever `durability` is.
        verify: Whether to read all that was merged again, and compare it with the inputs.
        durability: See `SceneFile`.
        lock_timeout_s: How long to wait for others that write to the file, in seconds.
        client: A `dask.distributed.Client` whose workers verify while this process goes on to
            copy. They must see the files under the same paths.
        on_progress: Called with how many bytes of the inputs are done, of how many; each counts
            twice if it is verified.

    Durability:
        A scene is in the file completely or not at all, each as of a transaction of its own. On
        return all of those in the report are. What a call that was killed had copied of a scene is
        used by the next one.

    Raises:
        MergeConflictError: Two inputs have a scene of the same name, or the file has one of this
            name with other content. Its `conflicts` lists all of them, and nothing was merged.
        NotFoundError: An input does not exist; nothing was merged.
        InvalidInputError: There are no inputs, or the file is one of them.
        BusyError: Others are being merged into the file, or somebody else was writing to it for
            too long.
        ReadOnlyError: The file cannot be written.
        StorageError: The disk is full or failed; what was merged before stays.
    """
    if ids not in ("keep", "renumber"):
        raise InvalidInputError(f"ids must be 'keep' or 'renumber', not {ids!r}")
    if client is not None:
        checked_client(client)
    start_s = time.monotonic()
    path = scene_file_path(output)
    files, directories = input_files(inputs, path)
    options = {"lock_timeout_s": lock_timeout_s, "durability": "power" if move else durability}
    merger = _Merger(
        path,
        options,
        renumbers=ids == "renumber",
        verifies=verify or move,
        on_progress=on_progress,
    )
    make_directory(path)
    with ExitStack() as stack:
        stack.enter_context(only_merger(path, lock_timeout_s=lock_timeout_s))
        for file in files:
            merger.add(file, is_moved=move)
        merger.check()
        if merger.sources:
            merger.open(stack)
        removed = []
        for source, is_whole in merger.merged(client):
            if move and is_whole and merger.remove(source):
                removed.append(source.path)
    for directory in directories if removed else ():
        remove_if_empty(directory)
    report = merger.report
    return MergeReport(
        path,
        report.scenes,
        tuple(report.already),
        report.problems,
        tuple(removed),
        report.stored_bytes,
        time.monotonic() - start_s,
    )


@dataclass
class _Report:
    """What has been done so far, see `MergeReport`."""

    scenes: dict[tuple[str, str], str] = field(default_factory=dict)
    already: list[tuple[str, str]] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    stored_bytes: int = 0


class _Changed(BusyError):
    """An input is not what it was when it was looked at first."""


class _Merger:
    """A merge in progress.

    Attributes:
        sources: The inputs that can be read.
        report: What has been done.
    """

    def __init__(
        self,
        path: str,
        options: Any,
        *,
        renumbers: bool,
        verifies: bool,
        on_progress: Callable[[int, int], object] | None,
    ):
        self.sources: list[MergeInput] = []
        self.report = _Report()
        self._path = path
        self._options = options
        self._renumbers = renumbers
        self._verifies = verifies
        self._on_progress = on_progress
        self._done_bytes = 0
        self._target: SceneFile

    # --- before anything is written ---------------------------------------------------------------

    def add(self, path: str, *, is_moved: bool) -> None:
        """Adds an input, or notes why it is left out."""
        try:
            self.sources.append(examined(path, is_moved=is_moved))
        except H5SceneError as error:
            self.report.problems[path] = str(error)

    def check(self) -> None:
        """Finds out which scenes are there already, and which are to be copied.

        Raises:
            MergeConflictError: Some of them cannot be merged.
        """
        if Path(self._path).exists():
            with SceneFile(self._path, "r", **self._options) as target:
                self._compare(target)
        else:
            self._compare(None)

    def _compare(self, target: SceneFile | None) -> None:
        """Compares the inputs with each other and with the target, if there is one."""
        taken: set[str] = set()
        origins: dict[tuple[str, str], list[str]] = {}
        if target is not None:
            taken.update(target._read(lambda tree: link_names(tree.h5)))
            origins = target._read(origins_of) if self._renumbers else {}
        owners: dict[str, str] = {}
        conflicts = []
        for source in self.sources:
            for scene in source.scenes:
                if self._renumbers:
                    candidates = origins.get((source.name, scene), [])
                elif scene in owners:
                    conflicts.append(f"{scene} is in {owners[scene]} and in {source.path}")
                    continue
                else:
                    owners[scene] = source.path
                    candidates = [scene] if scene in taken else []
                try:
                    same = self._find_same(source, scene, target, candidates)
                except H5SceneError as error:
                    self._check_is_of(error, source)
                    self.report.problems[f"{source.path}/{scene}"] = str(error)
                    continue
                if same is not None:
                    self.report.scenes[source.path, scene] = same
                    self.report.already.append((source.path, scene))
                elif candidates and not self._renumbers:
                    conflicts.append(f"{scene} of {source.path} is another one in {self._path}")
                else:
                    source.to_do.append(scene)
        if conflicts:
            shown = "; ".join(conflicts[:_MOST_CONFLICTS])
            more = len(conflicts) - _MOST_CONFLICTS
            raise MergeConflictError(
                f"nothing was merged into {self._path}: {shown}"
                f"{f'; and {more:,} more' if more > 0 else ''}; give the scenes new numbers "
                "(--renumber, ids='renumber'), or rename them",
                conflicts=tuple(conflicts),
                file=self._path,
            )

    def _find_same(
        self, source: MergeInput, scene: str, target: SceneFile | None, candidates: Sequence[str]
    ) -> str | None:
        """Returns which scene of the target is the same as one of a source."""
        if target is None or not candidates:
            return None
        with source.opened() as file:
            for name in candidates:
                copied = CopiedScene(source.path, scene, self._path, name)
                if is_same_scene(file, target, copied):
                    return name
        return None

    # --- copying ----------------------------------------------------------------------------------

    def open(self, stack: ExitStack) -> None:
        """Opens or creates the target, and removes from it what will not be gone on with."""
        self._target = stack.enter_context(SceneFile(self._path, "a", **self._options))
        wanted = {source.place(scene) for source in self.sources for scene in source.to_do}
        self._remove(set(self._target._read(_unfinished)) - wanted)

    def copy(self, source: MergeInput) -> None:
        """Copies the scenes of an input that are to be copied, and notes which could not be."""
        copies: dict[str, SceneCopy] = {}
        before = self.report.stored_bytes
        while source.to_do:
            scene = source.to_do[0]
            try:
                with self._target._transaction() as new, source.opened() as file:
                    portion, done = Portion(), dict[str, str]()
                    numbers: dict[str, int] = {}
                    for scene in source.to_do:
                        copy = SceneCopy(scene, source.place(scene), source.known)
                        copy = copies.setdefault(scene, copy)
                        if not self._go_on(source, file, new, copy, portion):
                            break
                        done[scene] = self._publish(source, scene, new, copy, numbers)
                        if portion.is_used_up:
                            break
                    if not link_names(new.h5[layout.MERGING_GROUP]):
                        del new.h5[layout.MERGING_GROUP]
            except H5SceneError as error:
                self._leave_out(source, scene, error)
                copies.clear()  # what this transaction has copied is undone
                continue
            for scene, name in done.items():
                self.report.scenes[source.path, scene] = name
                del copies[scene]
            del source.to_do[: len(done)]
            self.report.stored_bytes += portion.copied_bytes
            self._say(min(self.report.stored_bytes - before, source.byte_count))
        self._done_bytes += source.byte_count
        self._say(0)

    def _go_on(
        self,
        source: MergeInput,
        file: SceneFile,
        new: SceneTree,
        copy: SceneCopy,
        portion: Portion,
    ) -> bool:
        """Copies a scene, or a portion of it; returns whether all of it is there.

        Raises:
            AlreadyExistsError: The target has got a scene of this name meanwhile.
            BusyError: The input was changed.
        """
        if not self._renumbers and copy.scene in new.h5:
            raise AlreadyExistsError(
                f"{self._path} has got another scene {copy.scene!r} while this was merged"
            )

        def go_on(old: SceneTree) -> bool:
            if file._opened().state() != source.state:
                raise _Changed(f"{source.path} was changed while it was merged; merge it again")
            return copy.go_on(old, new, portion)

        return file._read(go_on)

    def _publish(
        self,
        source: MergeInput,
        scene: str,
        new: SceneTree,
        copy: SceneCopy,
        numbers: dict[str, int],
    ) -> str:
        """Gives a scene of which all is there its name in the target, and returns it."""
        name = next_name(new, scene, numbers) if self._renumbers else scene
        copy.publish(new, name)
        if self._renumbers:
            note_origin(new.scene(name), source.name, scene)
        return name

    def _leave_out(self, source: MergeInput, scene: str, error: H5SceneError) -> None:
        """Leaves out a scene, or all that is left of an input, for an error in it.

        Raises:
            H5SceneError: It is one of the target.
        """
        is_taken = isinstance(error, AlreadyExistsError)
        if not is_taken:
            self._check_is_of(error, source)
        left_out = [scene]
        if is_taken or isinstance(error, (FormatError, InvalidInputError)):
            self.report.problems[f"{source.path}/{scene}"] = str(error)
        else:
            self.report.problems[source.path] = str(error)
            left_out = list(source.to_do)
        source.to_do = [one for one in source.to_do if one not in left_out]
        self._remove(
            {source.place(one) for one in left_out}.intersection(self._target._read(_unfinished))
        )

    def _check_is_of(self, error: H5SceneError, source: MergeInput) -> None:
        """Raises an error again, unless it is one of an input."""
        if error.file is None or not is_same_path(error.file, source.path):
            raise error

    def _remove(self, places: Iterable[str]) -> None:
        """Removes unfinished copies from the target."""
        places = list(places)
        if not places:
            return
        with self._target._transaction() as tree:
            for place in places:
                del tree.h5[place]
            if not link_names(tree.h5[layout.MERGING_GROUP]):
                del tree.h5[layout.MERGING_GROUP]
        # HDF5 would fill the gaps. They lie below the committed end, where new data take memory,
        # and the way through the journal.
        self._target._opened().close_if_idle()

    def _say(self, copied_bytes: int) -> None:
        """Reports the progress, in bytes of the inputs."""
        if self._on_progress is not None:
            total = sum(source.byte_count for source in self.sources) * (1 + self._verifies)
            self._on_progress(self._done_bytes + copied_bytes, total)

    # --- afterwards -------------------------------------------------------------------------------

    def merged(self, client: Any) -> Iterator[tuple[MergeInput, bool]]:
        """Copies all inputs, and yields each, with whether all of it is in the target.

        To the last bit, if that is verified: here, or by workers while the next ones are copied.
        """
        if not self._verifies:
            for source in self.sources:
                self.copy(source)
                yield source, True
            return
        verdicts: Iterator[tuple[str | None, int]]
        sent: list[tuple[MergeInput, CopiedScene]] = []
        found: dict[str, list[bool]] = {}
        counts: dict[str, int] = {}

        def tasks() -> Iterator[tuple[CopiedScene]]:
            for source in self.sources:
                self.copy(source)
                copied = self._copied(source)
                found[source.path], counts[source.path] = [], len(copied)
                for one in copied:
                    sent.append((source, one))
                    yield (one,)

        if client is None:
            verdicts = ((verify_scene(*task), number) for number, task in enumerate(tasks()))
        else:
            verdicts = on_workers(client, verify_scene, tasks())
        for verdict, number in verdicts:
            source, copied = sent[number]
            right = found[source.path]
            right.append(self._is_right(copied, verdict))
            count = counts[source.path]
            before, now = ((source.byte_count * n) // count for n in (len(right) - 1, len(right)))
            self._done_bytes += now - before
            self._say(0)
            if len(right) == count:
                yield source, self._is_whole(source, right)
        for source in self.sources:
            if not counts[source.path]:
                self._done_bytes += source.byte_count
                self._say(0)
                yield source, self._is_whole(source, [])

    def _copied(self, source: MergeInput) -> list[CopiedScene]:
        """Returns the scenes of an input that are in the target."""
        places = {scene: self.report.scenes.get((source.path, scene)) for scene in source.scenes}
        return [
            CopiedScene(source.path, scene, self._path, name)
            for scene, name in places.items()
            if name is not None
        ]

    def _is_right(self, copied: CopiedScene, verdict: str | None) -> bool:
        """Notes what is wrong with a copy; returns whether nothing is."""
        if verdict is not None:
            self.report.problems[f"{copied.source}/{copied.scene}"] = f"merged, but {verdict}"
        return verdict is None

    def _is_whole(self, source: MergeInput, right: Sequence[bool]) -> bool:
        """Whether all scenes of an input are in the target, after these were verified."""
        return all(right) and len(right) == len(source.scenes)

    def remove(self, source: MergeInput) -> bool:
        """Removes an input; returns whether it is gone."""
        if source.others:
            self.report.problems[source.path] = (
                f"merged, but not removed: it holds {names.quoted(source.others)} beside its scenes"
            )
            return False
        try:
            if is_being_written(source.path):
                raise BusyError("somebody has begun to write to it")
            open_store(source.path).remove(source.state, lock_timeout_s=INPUT_TIMEOUT_S)
            if Path(source.path).is_symlink():
                Path(source.path).unlink()  # it leads nowhere now
        except (H5SceneError, OSError) as error:
            self.report.problems[source.path] = f"merged, but not removed: {error}"
            return False
        return True


def _unfinished(tree: SceneTree) -> list[str]:
    """Returns the paths of copies that are not complete."""
    if layout.MERGING_GROUP not in tree.h5:
        return []
    group = tree.h5[layout.MERGING_GROUP]
    return [f"{layout.MERGING_GROUP}/{link}" for link in link_names(group)]
