"""Whether a scene file is what was written: all of it is read, and compared with its checksums."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h5scene.errors import CorruptDataError, FormatError, H5SceneError, StorageError
from h5scene.format import layout
from h5scene.handling import check_steps
from h5scene.paths import scene_file_path
from h5scene.sandbox import Sandbox
from h5scene.scene_file import DEFAULT_LOCK_TIMEOUT_S, SceneFile
from h5scene.store.inspection import inspect_headers
from h5scene.store.system import memory_bytes

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from h5scene.handling.check_steps import Kind, Result

_MAX_FINDINGS = 10_000
_FRAMES_AT_A_TIME = 512


@dataclass(frozen=True)
class Finding:
    """Something that `check` found.

    Attributes:
        path: HDF5 path; empty for what concerns no single object.
        kind: `damaged`: it is not what was written, or cannot be read. `unsafe`: it asks for what
            a shared file must not ask for. `invalid`: it can be read and is not what the format
            says. `unknown`: it is not h5scene's, which does no harm.
        message: What it is.
    """

    path: str
    kind: Kind
    message: str

    @property
    def is_problem(self) -> bool:
        """Whether something is wrong."""
        return self.kind != "unknown"

    def __str__(self) -> str:
        return f"{self.path or '…'}: {self.kind}: {self.message}"


@dataclass(frozen=True)
class Checked:
    """What `check` has read, and what it found.

    Attributes:
        file: Path of the file.
        counts: How many `scenes`, `fields`, `frames`, `files` (attached ones), `properties`,
            `curves`, `times`, `arrays` and `objects` there are, how many `bytes` their data take,
            and how many are `damaged frames` and `damaged files`.
        findings: What is wrong, or unknown; 10,000 of them at most.
    """

    file: str
    counts: dict[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings of which something is wrong."""
        return tuple(one for one in self.findings if one.is_problem)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check(
    path: str | os.PathLike[str],
    *,
    workers: int | None = None,
    sandbox: bool = False,
    max_array_bytes: int | None = None,
    lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S,
    on_progress: Callable[[int, int], object] | None = None,
) -> Checked:
    """Reads all of a scene file, and returns what is wrong with it.

    Every group, attribute and chunk is read and compared with the format and its checksums. Others
    may write meanwhile: each object is read in one state of the file. Nothing is changed.

    Args:
        path: Path of the scene file.
        workers: Number of threads; by default one for each processor that may be used.
        sandbox: Whether to read in a process of its own, with limits of memory and time. What ends
            that process is a finding, and all else is read.
        max_array_bytes: How large one array in the file may be; all of the memory by default.
        lock_timeout_s: How long to wait for other processes, in seconds.
        on_progress: Called with how many bytes are done, and how many there are.

    Raises:
        NotFoundError: There is no such file.
        NotASceneFileError: It is another kind of file.
        UnsupportedVersionError: A newer h5scene wrote it.
        InvalidInputError: `workers` or `max_array_bytes` is no such number.
        BusyError: Others did not stop writing in time.
    """
    place = scene_file_path(path)
    options = {
        "workers": workers,
        "max_array_bytes": max_array_bytes,
        "lock_timeout_s": lock_timeout_s,
    }
    run = _Run(place, options, Sandbox(memory_bytes()) if sandbox else None, on_progress)
    try:
        return run.check()
    finally:
        run.close()


class _Run:
    """One check.

    Args:
        path: Path of the file.
        options: Of `SceneFile`.
        sandbox: Where to read; here, if there is none.
        on_progress: See `check`.
    """

    def __init__(
        self,
        path: str,
        options: dict[str, Any],
        sandbox: Sandbox | None,
        on_progress: Callable[[int, int], object] | None,
    ):
        self._path = path
        self._options = options
        self._sandbox = sandbox
        self._file = _OpenFile()
        self._on_progress = on_progress
        self._counts: Counter[str] = Counter()
        self._findings: list[Finding] = []
        self._dropped = 0

    def check(self) -> Checked:
        """Returns what was found."""
        try:
            notes = inspect_headers(self._path)
            self._call(self._file.open, _open_there)
        except FormatError as error:
            if not (isinstance(error, CorruptDataError) or _was_ours(self._path)):
                raise
            self._add(Finding("/", "damaged", str(error)))
            return self._checked()
        for note in notes:
            self._add(Finding("/", "unknown", note))
        for scene in self._names("/", "root"):
            for which in layout.SCENE_PARTS:
                self._step(f"/{scene}/{which}", "part", scene, which)
            for link in self._names(f"/{scene}", "scene", scene):
                path = f"/{scene}/{link}"
                numbers = self._step(path, "field", scene, link).get("names", ())
                self._frames(path, scene, link, numbers)
        return self._checked()

    def close(self) -> None:
        """Closes what is open."""
        if self._sandbox is not None:
            self._sandbox.stop()
        self._file.close()

    def _names(self, path: str, step: str, *arguments: str) -> Sequence[str]:
        """Returns what a step gives to look at next; all there is where one member spoils it."""
        result = self._step(path, step, *arguments) or self._step(path, "links", path)
        names: Sequence[str] = result.get("names", ())
        return names

    def _frames(self, path: str, scene: str, link: str, numbers: Sequence[int]) -> None:
        """Reads the frames of a field, many in a step; after an error, one."""
        start, most = 0, _FRAMES_AT_A_TIME
        while start < len(numbers):
            some = list(numbers[start : start + most])
            if most > 1:
                try:
                    result = self._take_step("frames", (scene, link, some))
                except H5SceneError as error:
                    _raise_if_not_about_file(error)
                    most = 1
                    continue
            else:
                number_path = f"{path}/{some[0]:06d}"
                result = self._step(number_path, "frames", scene, link, some)
                if not result:
                    self._counts.update({"frames": 1, "damaged frames": 1})
                most = _FRAMES_AT_A_TIME if result else 1
            self._take(result)
            start += max(int(result.get("done", 1)), 1)

    def _step(self, path: str, step: str, *arguments: Any) -> Result:
        """Takes one step, and returns what it said; nothing where it could not be taken."""
        try:
            result = self._take_step(step, arguments)
        except H5SceneError as error:
            _raise_if_not_about_file(error)
            where = error.location or path
            self._add(Finding(where if where.startswith(path) else path, "damaged", str(error)))
            return {}
        if step != "frames":
            self._take(result)
        return result

    def _take_step(self, step: str, arguments: Sequence[Any]) -> Result:
        """Returns what a step finds."""
        result: Result = self._call(self._file.take_step, _step_there, step, arguments)
        return result

    def _call(self, here: Callable[..., Any], there: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function with the file, here or in the sandbox."""
        if self._sandbox is None:
            return here(self._path, self._options, *arguments)
        return self._sandbox.call(
            there,
            self._path,
            self._options,
            *arguments,
            size_bytes=Path(self._path).stat().st_size,
        )

    def _take(self, result: Result) -> None:
        """Takes over what a step found."""
        self._counts.update(result.get("counts", {}))
        for path, kind, message in result.get("findings", ()):
            self._add(Finding(path, kind, message))
        if self._on_progress is not None:
            total = Path(self._path).stat().st_size
            self._on_progress(min(self._counts["bytes"], total), total)

    def _add(self, finding: Finding) -> None:
        """Keeps a finding, as long as there are not too many."""
        if len(self._findings) < _MAX_FINDINGS:
            self._findings.append(finding)
        else:
            self._dropped += 1

    def _checked(self) -> Checked:
        """Returns all that was found."""
        if self._dropped:
            self._findings.append(Finding("", "damaged", f"{self._dropped:,} more findings"))
        found = tuple(sorted(self._findings, key=lambda one: (not one.is_problem, one.path)))
        counts = {name: count for name, count in sorted(self._counts.items()) if count}
        return Checked(self._path, counts, found)


def _raise_if_not_about_file(error: H5SceneError) -> None:
    """Raises an error again that says nothing about the content of the file."""
    if not isinstance(error, (FormatError, StorageError)):
        raise error


def _was_ours(path: str) -> bool:
    """Whether a file that cannot be opened begins like a scene file."""
    with Path(path).open("rb") as file:
        return b"h5scene" in file.read(2048).lower()


# --- in the process that reads --------------------------------------------------------------------


class _OpenFile:
    """The file of one check, which stays open."""

    def __init__(self) -> None:
        self._file: SceneFile | None = None

    def open(self, path: str, options: dict[str, Any]) -> None:
        """Opens a file."""
        self.close()
        self._file = SceneFile(path, "r", **options)

    def take_step(
        self, path: str, options: dict[str, Any], step: str, arguments: Sequence[Any]
    ) -> Result:
        """Returns what a step finds."""
        if self._file is None:  # this process is a new one
            self.open(path, options)
        result: Result = getattr(check_steps, step)(self._file, *arguments)
        return result

    def close(self) -> None:
        """Closes what is open."""
        if self._file is not None:
            self._file.close()
            self._file = None


_there = _OpenFile()
"""That of a process in a sandbox, which serves one check."""


def _open_there(path: str, options: dict[str, Any]) -> None:
    """Opens the file in a sandbox."""
    _there.open(path, options)


def _step_there(path: str, options: dict[str, Any], step: str, arguments: Sequence[Any]) -> Result:
    """Returns what a step finds in a sandbox."""
    return _there.take_step(path, options, step, arguments)
