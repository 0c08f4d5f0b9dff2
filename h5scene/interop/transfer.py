"""What an import or export is asked to do, what it says while it works, and what it has done."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from h5scene.errors import H5SceneError, InvalidInputError
from h5scene.store.system import memory_bytes

if TYPE_CHECKING:
    from h5scene.format.filters import Compression
    from h5scene.store import Durability

Frames: TypeAlias = "Iterable[int] | slice | None"


@dataclass(frozen=True)
class Choice:
    """Which scenes, fields and frames are meant.

    Attributes:
        scenes: Names, or patterns with `*` and `?`; all of them by default.
        fields: The same of fields.
        frames: Frame numbers, or a slice of them; all of them by default.
    """

    scenes: tuple[str, ...] | None = None
    fields: tuple[str, ...] | None = None
    frames: frozenset[int] | range | slice | None = None

    def has_scene(self, name: str) -> bool:
        """Whether a scene is meant."""
        return _matches(self.scenes, (name,))

    def has_field(self, *spellings: str) -> bool:
        """Whether a field is meant, which has these names."""
        return _matches(self.fields, spellings)

    def has_frame(self, frame: int) -> bool:
        """Whether a frame is meant."""
        if self.frames is None:
            return True
        if isinstance(self.frames, slice):
            start = self.frames.start or 0
            stop = self.frames.stop
            below = stop is None or frame < stop
            return below and frame >= start and (frame - start) % (self.frames.step or 1) == 0
        return frame in self.frames


def choice(
    scenes: str | Sequence[str] | None, fields: str | Sequence[str] | None, frames: Frames
) -> Choice:
    """Returns what is meant by the arguments of a call.

    Raises:
        InvalidInputError: A slice counts from the end, or backwards.
    """
    if isinstance(frames, slice):
        parts = (frames.start, frames.stop, frames.step)
        if any(part is not None and part < 0 for part in parts) or frames.step == 0:
            raise InvalidInputError(
                f"{frames} must count upwards from a frame that is not negative"
            )
        return Choice(_names(scenes), _names(fields), frames)
    if frames is None or isinstance(frames, range):
        return Choice(_names(scenes), _names(fields), frames)
    return Choice(_names(scenes), _names(fields), frozenset(frames))


def _names(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    return (given,) if isinstance(given, str) else tuple(given)


def _matches(patterns: tuple[str, ...] | None, spellings: Sequence[str]) -> bool:
    if patterns is None:
        return True
    return any(
        name == pattern or fnmatch.fnmatchcase(name, pattern)
        for pattern in patterns
        for name in spellings
    )


@dataclass(frozen=True)
class Problem:
    """Something that could not be transferred.

    Attributes:
        path: Of the file, or of the place in the scene file.
        message: What is wrong with it.
        error: Name of the class of the error, such as `CorruptDataError`.
    """

    path: str
    message: str
    error: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass
class Transfer:
    """What an import or export has done, or would do.

    Attributes:
        scenes: Names of the scenes that were worked on.
        frames: Number of frames of fields that were written.
        files: Number of attached files that were written.
        bytes: Bytes of the arrays and files that were written, not compressed.
        skipped: Number of frames and files that were there already, and left alone.
        beside: What npz cannot hold and was kept beside it, a line each.
        notes: What a user should know.
        problems: What could not be transferred.
        is_verified: Whether all that was transferred was read again, and found to be the same.
        seconds: How long it took.
    """

    scenes: list[str] = field(default_factory=list)
    frames: int = 0
    files: int = 0
    bytes: int = 0
    skipped: int = 0
    beside: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    is_verified: bool = False
    seconds: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether everything that was asked for is done."""
        return not self.problems

    def add(self, other: Transfer) -> None:
        """Adds what was done in another part of the work."""
        self.scenes += other.scenes
        self.frames += other.frames
        self.files += other.files
        self.bytes += other.bytes
        self.skipped += other.skipped
        self.beside += other.beside
        self.notes += other.notes
        self.problems += other.problems

    def fail(self, path: object, error: H5SceneError) -> None:
        """Adds something that could not be transferred."""
        self.problems.append(Problem(str(path), error.message, type(error).__name__))


@dataclass(frozen=True)
class Progress:
    """How far an import or export is.

    Attributes:
        scenes: Scenes that are done.
        scene_count: All scenes.
        bytes: Bytes of files that are done.
        byte_count: Bytes of all files.
    """

    scenes: int
    scene_count: int
    bytes: int
    byte_count: int


Report: TypeAlias = Callable[[Progress], Any]


@dataclass(frozen=True)
class Options:
    """How an import or export is done.

    Attributes:
        limit_bytes: Of one array or file.
    """

    choice: Choice = field(default_factory=Choice)
    is_overwriting: bool = False
    is_verifying: bool = False
    limit_bytes: int = 0
    durability: Durability = "process"
    compression: Compression = "fast"
    lock_timeout_s: float = 60.0


def limit_or_default(limit_bytes: int | None) -> int:
    """Returns how large one array or file may be: a quarter of the memory, if nothing else is said.

    Raises:
        InvalidInputError: It is not positive.
    """
    if limit_bytes is None:
        return memory_bytes() // 4
    if limit_bytes < 1:
        raise InvalidInputError(f"the limit of an array must be positive, not {limit_bytes} bytes")
    return limit_bytes
