"""Links of a file from anybody: which of them are followed.

HDF5 follows links into other files, and has types of links that run code of a plugin. Only hard
links are followed here, and the others never reach HDF5, unless the file is trusted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py

from h5scene.errors import CorruptDataError, UnsafeFileError
from h5scene.store.access import access_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from h5scene.store.access import Policy

_LINKS = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "a link into another file"}
HDF5_ERRORS = (KeyError, OSError, RuntimeError, ValueError, TypeError)
"""What h5py raises where HDF5 could not open something."""


def open_member(group: h5py.Group, path: str | bytes) -> Any:
    """Returns the HDF5 identifier of a member, whose links have been checked.

    A dataset has to pass `check_dataset` before it is read.

    Args:
        group: Where the path begins.
        path: Names joined by slashes.

    Raises:
        KeyError: There is no such member.
        UnsafeFileError: A link on the way is no hard link.
        CorruptDataError: HDF5 cannot open it.
    """
    member = encoded(path)
    if member is None:
        raise KeyError(f"no link can have the name {path!r}")
    if access_of(group).policy.is_trusted:
        return h5py.h5o.open(group.id, member, _link_access())
    check_links(group, member)
    return _open(group.id, member)


def open_link(parent: Any, link: str | bytes) -> Any:
    """Returns the HDF5 identifier of a member of a group that is given by its identifier.

    Raises:
        KeyError: There is no such member.
        UnsafeFileError: The link is no hard link.
        CorruptDataError: HDF5 cannot open it.
    """
    return open_member(h5py.Group(parent), link)


def hard_links(group: h5py.Group) -> list[bytes]:
    """Returns the links of a group that are followed, in HDF5's order; all, if it is trusted."""
    found: list[bytes] = []
    if access_of(group).policy.is_trusted:
        group.id.links.iterate(found.append)
        return found

    def take(link: bytes, about: Any) -> None:
        if about.type == h5py.h5l.TYPE_HARD:
            found.append(link)

    group.id.links.iterate(take, info=True)
    return found


def members(group: h5py.Group, is_wanted: Callable[[bytes], bool]) -> Iterator[tuple[bytes, Any]]:
    """Yields members that may be opened: their links and HDF5 identifiers, in HDF5's order.

    They are those of `check_member` and `open_member`, with less work for each.

    Args:
        group: Whose members.
        is_wanted: Whether to open the member of this name.

    Raises:
        CorruptDataError: HDF5 cannot open one of them.
    """
    found: list[tuple[bytes, int]] = []
    group.id.links.iterate(lambda link, about: found.append((link, about.type)), info=True)
    is_trusted = access_of(group).policy.is_trusted
    for link, kind in found:
        if b"/" in link or link == b"." or not is_wanted(link):
            continue  # what HDF5 would take for a path leads to something else
        if kind == h5py.h5l.TYPE_HARD:
            yield link, _open(group.id, link)
        elif is_trusted and check_member(group, link):
            yield link, open_member(group, link)


def check_member(group: h5py.Group, path: bytes) -> bool:
    """Whether there is a member that may be opened: false if there is none, or it may not."""
    if access_of(group).policy.is_trusted:
        return bool(h5py.h5o.exists_by_name(group.id, path, _link_access()))
    try:
        check_links(group, path)
    except (KeyError, UnsafeFileError):
        return False
    return True


def check_links(group: h5py.Group, path: bytes, *, is_last_free: bool = False) -> None:
    """Raises UnsafeFileError for a link on a path that is no hard link, KeyError for a missing one.

    The last one may be of any kind where only the link itself is meant.
    """
    policy = access_of(group).policy
    known: set[bytes] | None = getattr(group, "plain_groups", None)
    links = group.id.links
    end = path.find(b"/", 1)
    while end > 0:
        parent = path[:end]
        if known is None or parent not in known:
            _check_link(group, links, parent, policy)
            if known is not None:
                known.add(parent)
        end = path.find(b"/", end + 1)
    if is_last_free:
        _link_type(group, links, path)
    else:
        _check_link(group, links, path, policy)


def encoded(path: str | bytes) -> bytes | None:
    """Returns a path as HDF5 takes it; `None` if no link can have it."""
    if isinstance(path, str):
        try:
            path = path.encode(errors="surrogateescape")
        except UnicodeEncodeError:
            return None
    return None if b"\0" in path or not path else path


def path_of(identifier: Any, member: str | bytes = b"") -> str:
    """Returns the HDF5 path of an object, or of a member of it, for people."""
    name = h5py.h5i.get_name(identifier) or b"?"
    member = member.encode(errors="replace") if isinstance(member, str) else member
    whole = b"/".join((name.rstrip(b"/"), member)) if member else name
    return whole.decode(errors="replace")


# --- inside ---------------------------------------------------------------------------------------


def _open(parent: Any, member: bytes) -> Any:
    """Returns the HDF5 identifier of a member that may be opened.

    Raises:
        CorruptDataError: HDF5 cannot open it.
    """
    try:
        return h5py.h5o.open(parent, member)
    except HDF5_ERRORS as error:
        where = path_of(parent, member)
        raise CorruptDataError(
            f"{where} is damaged, HDF5 cannot open it: {error}", location=where
        ) from error


def _check_link(group: h5py.Group, links: Any, path: bytes, policy: Policy) -> None:
    """Raises UnsafeFileError when a link is no hard link, KeyError when there is none."""
    if path in (b"/", b"."):
        return  # the group itself
    kind = _link_type(group, links, path)
    if kind != h5py.h5l.TYPE_HARD and not policy.is_trusted:
        where = path_of(group.id, path)
        raise UnsafeFileError(
            f"{where} is {_LINKS.get(kind, 'a link of a kind of its own')}, which is not followed; "
            "if you know where the file comes from, open it with trusted=True",
            location=where,
        )


def _link_type(group: h5py.Group, links: Any, path: bytes) -> int:
    """Returns HDF5's number of the type of a link.

    Raises:
        KeyError: There is none.
        CorruptDataError: HDF5 cannot tell.
    """
    try:
        kind: int = links.get_info(path).type
    except HDF5_ERRORS as error:
        where = path_of(group.id, path)
        try:
            if not links.exists(path):
                raise KeyError(f"{where} does not exist") from None
        except (OSError, RuntimeError, ValueError):
            pass  # it cannot even say that
        raise CorruptDataError(f"the link {where} is damaged: {error}", location=where) from error
    return kind


def _link_access() -> Any:
    """Returns how links into other files are followed: read-only, and not through our own file."""
    access = h5py.h5p.create(h5py.h5p.LINK_ACCESS)
    other = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    other.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    other.set_fapl_sec2()
    access.set_elink_fapl(other)
    access.set_elink_acc_flags(h5py.h5f.ACC_RDONLY)
    return access
