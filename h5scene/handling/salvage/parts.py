"""What a scene holds beside fields, out of a damaged file and into the new one.

Each of `PARTS` saves one kind of it: what can be read, and then written, one thing after the other.
Its counts are added to, and what is lost of it is returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from h5scene.errors import BusyError, H5SceneError, ReadOnlyError, StorageError
from h5scene.format import layout
from h5scene.handling.salvage import reading

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from h5scene.handling.salvage.reading import Problems
    from h5scene.handling.salvage.rebuilding import Place
    from h5scene.handling.salvage.writing import Writer

Ask: TypeAlias = "Callable[..., Any]"
"""Returns what a function of `reading` returns for the damaged file, and other arguments."""


_NO_VALUES_OF_OURS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What Python, NumPy and h5py raise for values; not `OSError`, which is about the new file."""


def raise_if_not_about_file(error: H5SceneError) -> None:
    """Raises an error again that says nothing about the content of the file."""
    if isinstance(error, (BusyError, ReadOnlyError)):
        raise error


def write_found(function: Callable[..., object], *arguments: Any) -> str | None:
    """Writes something; returns why that cannot be, if it is for what it is.

    Raises:
        OSError: The new file cannot be written.
    """
    try:
        function(*arguments)
    except (BusyError, ReadOnlyError, StorageError):
        raise
    except H5SceneError as error:
        return str(error)
    except _NO_VALUES_OF_OURS as error:
        return f"cannot be stored: {error}"
    return None


def _save_properties(ask: Ask, writer: Writer, place: Place, counts: Counter[str]) -> Problems:
    found, problems = ask(reading.properties, place.stand_in)
    writer.scene(place.scene)
    for name, value in found.items():
        why = write_found(writer.property, place.scene, name, value)
        if why is None:
            counts["properties"] += 1
        else:
            problems.append((f"@{name}", why))
    return list(problems)


def _save_times(ask: Ask, writer: Writer, place: Place, counts: Counter[str]) -> Problems:
    found, problems = ask(reading.tables_of, place.stand_in, layout.TIMES_DATASET)
    for name, rows in found.items():
        why = write_found(writer.times, place.scene, rows)
        if why is None:
            counts["times"] += len(rows)
        else:
            problems.append((name, why))
    return list(problems)


def _save_curves(ask: Ask, writer: Writer, place: Place, counts: Counter[str]) -> Problems:
    found, problems = ask(reading.tables_of, place.stand_in, layout.CURVES_GROUP)
    for name, rows in found.items():
        why = write_found(writer.curve, place.scene, name, rows)
        if why is None:
            counts["curves"] += 1
        else:
            problems.append((f"{layout.CURVES_GROUP}/{name}", why))
    return list(problems)


def _save_attachments(ask: Ask, writer: Writer, place: Place, counts: Counter[str]) -> Problems:
    found, problems = ask(reading.attachments, place.stand_in)
    for name in found:
        why: str | None
        try:
            content, mode = ask(reading.attachment, place.stand_in, name)
        except H5SceneError as error:
            raise_if_not_about_file(error)
            why = str(error)
        else:
            why = write_found(writer.attachment, place.scene, name, content, mode)
        if why is None:
            counts["files"] += 1
        else:
            problems.append((f"{layout.FILES_GROUP}/{name}", why))
    return list(problems)


def _save_arrays(ask: Ask, writer: Writer, place: Place, counts: Counter[str]) -> Problems:
    problems: Problems = []
    for name in ask(reading.array_groups, place.stand_in):
        why: str | None
        try:
            found = ask(reading.arrays, place.stand_in, name)
        except H5SceneError as error:
            raise_if_not_about_file(error)
            why = str(error)
        else:
            why = write_found(writer.arrays, place.scene, name, found)
        if why is None:
            counts["arrays"] += len(found)
        else:
            problems.append((f"{layout.ARRAYS_GROUP}/{name}", why))
    return problems


PARTS: dict[str, Callable[[Ask, Writer, Place, Counter[str]], Problems]] = {
    "properties": _save_properties,
    layout.TIMES_DATASET: _save_times,
    layout.CURVES_GROUP: _save_curves,
    layout.FILES_GROUP: _save_attachments,
    layout.ARRAYS_GROUP: _save_arrays,
}
