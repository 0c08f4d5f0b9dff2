"""Rules for names in a scene file: of scenes, fields, frames, curves and attached files.

Field names follow `phi.field.Scene`, which spells Greek letters out, drops punctuation and joins
words with hyphens, but keep their case: `Velocity` and `velocity` are two fields.
"""

from __future__ import annotations

import operator
import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from h5scene.errors import FieldNotFoundError, InvalidInputError, InvalidNameError
from h5scene.format import layout

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_GREEK = re.compile("[Α-ΡΣ-Ωα-ρσ-ω]")
MEMBER_SEPARATOR = "."
"""Between the name of a structure of fields and that of its member, as PhiFlow has it."""
MAX_FRAME = 10**18 - 1

_FRAME = re.compile(r"0*[0-9]{6,18}", re.ASCII)


def field_link(name: str) -> str:
    """Returns the name under which a field is stored.

    Raises:
        InvalidNameError: `name` is no string, nothing is left of it, or what is left is reserved.
    """
    if not isinstance(name, str):
        raise InvalidNameError(f"a field name must be a string, not {type(name).__name__} {name!r}")
    if "\0" in name or not _is_unicode(name):
        raise InvalidNameError(
            f"field name {name!r} holds a NUL or is no valid Unicode; give the field another name"
        )
    return _field_link(name)


@lru_cache(maxsize=1024)  # the same few names with every frame
def _field_link(name: str) -> str:
    """Returns the name under which a field is stored, of a string."""
    link = (
        name.replace("._", ".").replace(".", "_").removeprefix("_")
    )  # members of structures, as PhiFlow joins them
    link = _GREEK.sub(_spell_greek, unicodedata.normalize("NFC", link))
    link = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", link).strip())
    link = unicodedata.normalize("NFC", link)  # what was dropped may have kept two letters apart
    if not link:
        raise InvalidNameError(
            f"field name {name!r} has no letters or digits; give the field another name"
        )
    if link.startswith(layout.RESERVED_PREFIX):
        raise InvalidNameError(
            f"field name {name!r} is stored as {link!r}, and names that start with an underscore "
            "are reserved; give the field another name"
        )
    _check_length(link, "field name")
    return link


def find_field(links: Collection[str], name: str, where: str) -> str:
    """Returns the stored field that `name` means: the exact one, else one that differs in case.

    Raises:
        FieldNotFoundError: There is none, or there are several.
    """
    link = field_link(name)
    if link in links:
        return link
    folded = link.lower()
    matches = sorted(other for other in links if other.lower() == folded)
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise FieldNotFoundError(
            f"no field {link!r} in {where}; did you mean one of {quoted(matches)}?"
        )
    raise FieldNotFoundError(f"no field {link!r} in {where}; {listed(sorted(links))}")


def check_distinct(fieldnames: Iterable[str]) -> None:
    """Raises when two fields of one call would be stored in one place.

    Raises:
        InvalidNameError: Two names are the same once normalised, or one cannot be a field name.
    """
    spelled: dict[str, str] = {}
    for name in fieldnames:
        link = field_link(name)
        if link in spelled:
            raise InvalidNameError(
                f"field names {spelled[link]!r} and {name!r} are both stored as {link!r}; "
                "rename one of them"
            )
        spelled[link] = name


def frame_link(frame: Any) -> str:
    """Returns the name of a frame: its number, padded to six digits as PhiFlow does, or longer.

    Raises:
        InvalidInputError: `frame` is no whole number, or negative.
    """
    number = whole_number(frame, "a frame")
    if number < 0:
        raise InvalidInputError(f"frame {number} is negative; frames are numbered from 0")
    link = f"{number:0{layout.MIN_FRAME_DIGITS}d}"
    if number > MAX_FRAME:
        raise InvalidInputError(
            f"frame {number} is too large; a frame number has at most 18 digits"
        )
    return link


def whole_number(value: Any, what: str) -> int:
    """Returns `value` as an int.

    Raises:
        InvalidInputError: It is no whole number.
    """
    try:
        return operator.index(value)
    except (TypeError, ValueError, AssertionError):  # PhiML's tensors assert
        raise InvalidInputError(
            f"{what} must be a whole number, not {type(value).__name__} {value!r}"
        ) from None


def frame_of_link(link: str) -> int | None:
    """Returns the number of the frame of this name; `None` when it is not the name of one."""
    if len(link) == layout.MIN_FRAME_DIGITS and link.isascii() and link.isdigit():
        return int(link)  # nearly all, and scenes may have very many
    if not _FRAME.fullmatch(link):
        return None
    number = int(link)
    return number if frame_link(number) == link else None


def scene_link(name: str) -> str:
    """Returns `name`, which can be the name of a scene.

    Raises:
        InvalidNameError: It is empty, reserved or would be taken for a path.
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidNameError(f"a scene name must be a string that is not empty, not {name!r}")
    if name.startswith(layout.RESERVED_PREFIX):
        raise InvalidNameError(
            f"scene name {name!r} starts with an underscore; such names are reserved"
        )
    if "/" in name or "\\" in name or name in (".", "..") or not name.isprintable():
        raise InvalidNameError(
            f"scene name {name!r} must be printable, without '/' or '\\', and not '.' or '..'"
        )
    _check_length(name, "scene name")
    return name


def may_be_listed(link: str) -> bool:
    """Whether a name found in a file is one that people and file systems can be given."""
    return link.isprintable() and link not in ("", ".", "..") and not {"/", "\\"} & set(link)


def may_be_used(link: str) -> bool:
    """Whether a name found in a file can be that of a scene or field."""
    return may_be_listed(link) and not link.startswith(layout.RESERVED_PREFIX)


def attached_file_link(name: str) -> str:
    """Returns `name`, a path relative to the scene such as `src/plume.py`, which can be attached.

    Raises:
        InvalidNameError: It is empty, absolute, leaves the scene or is not printable.
    """
    parts = name.split("/") if isinstance(name, str) else [""]
    if any(part in ("", ".", "..") or "\\" in part or not part.isprintable() for part in parts):
        raise InvalidNameError(
            f"{name!r} cannot be the name of an attached file; "
            "use a relative path such as 'src/plume.py'"
        )
    _check_length(name, "name of an attached file")
    return name


def curve_link(name: str) -> str:
    """Returns `name`, which can be the name of a scalar curve.

    Raises:
        InvalidNameError: It is empty or would be taken for a path.
    """
    if (
        not isinstance(name, str)
        or not name
        or "/" in name
        or name in (".", "..")
        or not name.isprintable()
    ):
        raise InvalidNameError(
            f"{name!r} cannot be the name of a curve; use one printable name without '/'"
        )
    _check_length(name, "curve name")
    return name


def curve_columns(name: str, count: int) -> tuple[str, ...]:
    """Returns the names of the columns of a curve with `count` values a step."""
    columns = [name] if count == 1 else [f"{name}_{i}" for i in range(count)]
    return (layout.STEP_COLUMN, *columns)


def numbered_scene(name: str, number: int) -> str:
    """Returns the name of scene `number` of the series `name`, such as `sim_000042`."""
    return f"{name}_{number:06d}"


def scene_number(link: str, name: str) -> int | None:
    """Returns the number of a scene of the series `name`; `None` for others, as `sim_backup`."""
    match = re.fullmatch(rf"{re.escape(name)}_([0-9]+)", link, re.ASCII)
    return None if match is None else int(match[1])


def quoted(names: Collection[Any], most: int = 8) -> str:
    """Returns the names for an error message, the first few when there are many."""
    shown = ", ".join(repr(name) for name in list(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def listed(names: Collection[Any]) -> str:
    """Returns what there is, for the message that something else is not."""
    return f"it has {quoted(names)}" if names else "it has none yet"


def _spell_greek(match: re.Match[str]) -> str:
    """Returns the English name of one Greek letter, capitalised when the letter is."""
    letter = match[0]
    # Unicode writes LAMDA; everybody else, and PhiFlow, lambda.
    name = unicodedata.name(letter).split()[-1].replace("LAMDA", "LAMBDA")
    return name.capitalize() if letter.isupper() else name.lower()


def _check_length(name: str, what: str) -> None:
    """Raises InvalidNameError when the name is no UTF-8 or too long to be a link."""
    if not _is_unicode(name):
        raise InvalidNameError(f"{what} {name!r} is not valid Unicode")
    length_bytes = len(name.encode())
    if length_bytes > layout.MAX_NAME_BYTES:
        raise InvalidNameError(
            f"{what} {name[:40]!r}… is too long: {length_bytes} bytes, at most 1024"
        )


def _is_unicode(name: str) -> bool:
    """Whether UTF-8 can say the name; it has no word for lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
