"""Which frames a user means by a number, several of them, a slice, or `all`."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, TypeAlias

from h5scene.errors import FrameNotFoundError, InvalidInputError
from h5scene.format.names import whole_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ALL_FRAMES = "all"
FrameSelection: TypeAlias = "int | slice | str | Iterable[int]"
"""Frames by number, where -1 is the last one; a slice of those that are stored; or `all` of them.

The ends of a slice are frame numbers, and it takes those stored frames whose numbers lie between
them; negative ends count from the last one. Its step counts stored frames.
"""


def is_one_frame(selection: Any) -> bool:
    """Whether a selection is one frame rather than several, be it of one."""
    if isinstance(selection, (slice, str)):
        return False
    # What has no length is a number of some kind, or wrong.
    try:
        return not hasattr(selection, "__len__") or len(getattr(selection, "shape", (1,))) == 0
    except TypeError:
        return True


def needs_stored_frames(selection: Any) -> bool:
    """Whether what is meant depends on the frames that there are."""
    if isinstance(selection, (slice, str)):
        return True
    items = [selection] if is_one_frame(selection) else selection
    return any(whole_number(item, "a frame") < 0 for item in items)


def selected_frames(
    selection: Any, stored: Callable[[], Sequence[int]], what: str
) -> tuple[int, ...]:
    """Returns the frames that are meant, in the order in which they are asked for.

    Args:
        selection: See `FrameSelection`.
        stored: Gives the numbers of all frames, sorted. Asked only if it matters.
        what: What has these frames, for messages.

    Raises:
        InvalidInputError: This selects no frames, or one of them twice.
        FrameNotFoundError: Too few are stored to count from the last.
    """
    if isinstance(selection, str):
        if selection != ALL_FRAMES:
            raise InvalidInputError(
                f"frames are given by number, as a slice, or as {ALL_FRAMES!r}, not {selection!r}"
            )
        selection = slice(None)
    if isinstance(selection, slice):
        return _slice_of_frames(selection, stored(), what)
    items = [selection] if is_one_frame(selection) else list(selection)
    numbers = [whole_number(item, "a frame") for item in items]
    if not numbers:
        raise InvalidInputError(f"no frames of {what} are asked for; give at least one")
    if min(numbers) < 0:
        known = stored()
        for i, number in enumerate(numbers):
            if number < -len(known):
                raise FrameNotFoundError(f"no frame {number} of {what}: it has {len(known)} frames")
            numbers[i] = known[number] if number < 0 else number
    if len(set(numbers)) < len(numbers):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise InvalidInputError(f"frame {twice} of {what} is asked for twice")
    return tuple(numbers)


def _slice_of_frames(selection: slice, stored: Sequence[int], what: str) -> tuple[int, ...]:
    """Returns the stored frames that lie in a slice."""
    start, stop, step = (
        None if part is None else whole_number(part, "an end or a step of a slice of frames")
        for part in (selection.start, selection.stop, selection.step)
    )
    if step is not None and step < 1:
        raise InvalidInputError(f"a slice of frames has a positive step, not {step}")
    begin = 0 if start is None else _position(start, stored)
    end = len(stored) if stop is None else _position(stop, stored)
    found = tuple(stored[begin:end:step])
    if not found:
        if not stored:
            raise FrameNotFoundError(f"no frames of {what} are stored")
        raise FrameNotFoundError(
            f"{what} has no frames in {selection}; its {len(stored)} frames go from {stored[0]} to "
            f"{stored[-1]}"
        )
    return found


def _position(end: int, stored: Sequence[int]) -> int:
    """Returns how many stored frames lie before an end of a slice."""
    return max(len(stored) + end, 0) if end < 0 else bisect_left(stored, end)
