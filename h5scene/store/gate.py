"""The gate that every object of a file passes before it is used.

A scene file may come from anybody. HDF5 does what a file asks for: it follows links into other
files, reads raw data from any path, hands pointers from the file to NumPy, and recurses as deep as
the file says. The store therefore gives out `SafeFile`, an `h5py.File` that opens its members by
the rules below, and so do the groups that come from it. Code that uses h5py's lower level opens
objects with `open_member` and `check_dataset`, which are the same rules.

* Links are hard links. Others are never followed, and so never reach HDF5.
* A dataset holds numbers in the file itself, with the filters of FORMAT.md, and is no larger than
  what stands in the file can say. A virtual dataset shows datasets of the same file that are not
  virtual themselves.
* An attribute is a number, a string, or an array of them, of limited size.
* `walk` visits no group twice.

Each rule keeps something away that plain h5py lets in; `tests/damage/test_gate.py` shows what.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.errors import CorruptDataError, H5SceneError, InvalidInputError, UnsafeFileError
from h5scene.store.system import memory_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_ATTRIBUTE_BYTES = 64 << 20
"""Longer attributes are not read. HDF5 itself keeps attributes of this size in memory whole."""
MAX_DEFLATE_RATIO = 1032
"""What a deflated chunk says about the size of its data, at most: so its format makes it."""
_VARIABLE_STRING = h5py.string_dtype()
_VARIABLE_STRING_TYPE = h5py.h5t.py_create(_VARIABLE_STRING)
_LINKS = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "a link into another file"}
# Below this the size of an array needs no reason.
_ALWAYS_ALLOWED_BYTES = 1 << 20
_MAX_NESTING = 64
_NUMBER_KINDS = "biufc"
_SHUFFLE, _DEFLATE = (h5py.h5z.FILTER_SHUFFLE,), (h5py.h5z.FILTER_DEFLATE,)
_UNSUMMED_PIPELINES = ((), _SHUFFLE, _DEFLATE, _SHUFFLE + _DEFLATE)
_KNOWN_PIPELINES = frozenset(
    (*_UNSUMMED_PIPELINES, *((*one, h5py.h5z.FILTER_FLETCHER32) for one in _UNSUMMED_PIPELINES))
)
# What HDF5 could not open, h5py says with one of these.
_HDF5_ERRORS = (KeyError, OSError, RuntimeError, ValueError, TypeError)


@dataclass(frozen=True)
class Policy:
    """How much a file is trusted.

    Attributes:
        is_trusted: Whether links of all kinds are followed, into other files too.
        max_array_bytes: How large one array may be; all of the machine's memory by default.
    """

    is_trusted: bool = False
    max_array_bytes: int | None = None

    @property
    def array_limit_bytes(self) -> int:
        """How large one array may be."""
        return memory_bytes() if self.max_array_bytes is None else self.max_array_bytes


UNTRUSTED = Policy()


def checked_limit(limit_bytes: int | None) -> int | None:
    """Returns a limit that somebody gave for the size of an array.

    Raises:
        InvalidInputError: It is no positive whole number.
    """
    if limit_bytes is None or (type(limit_bytes) is int and limit_bytes > 0):
        return limit_bytes
    raise InvalidInputError(f"max_array_bytes must be a positive whole number, not {limit_bytes!r}")


class SafeGroup(h5py.Group):  # type: ignore[misc]  # h5py has no types
    """A group whose members and attributes pass the gate.

    Attributes:
        policy: How much the file is trusted.
    """

    policy = UNTRUSTED

    @classmethod
    def of(cls, identifier: Any, policy: Policy) -> SafeGroup:
        """Returns the group of an HDF5 identifier."""
        group = cls(identifier)
        group.policy = policy
        return group

    @property
    def attrs(self) -> SafeAttributes:
        """Attributes of the group."""
        return SafeAttributes(self)

    def __getitem__(self, name: str | bytes) -> Any:
        """Returns a member.

        Raises:
            KeyError: There is none.
            UnsafeFileError: It asks for something that a shared file must not ask for.
            CorruptDataError: HDF5 cannot open it.
        """
        opened = open_member(self, name)
        if isinstance(opened, h5py.h5g.GroupID):
            return SafeGroup.of(opened, self.policy)
        if isinstance(opened, h5py.h5d.DatasetID):
            check_dataset(opened, self.policy)
            dataset = SafeDataset(opened)
            dataset.policy = self.policy
            return dataset
        raise UnsafeFileError(
            f"{_path(self.id, name)} is neither a group nor a dataset",
            location=_path(self.id, name),
        )

    def get(self, name: str | bytes, default: Any = None, **options: Any) -> Any:
        """Returns a member, or else `default`; options of h5py are about links, and are allowed."""
        if options:
            return super().get(name, default, **options)
        try:
            return self[name]
        except KeyError:
            return default

    def __contains__(self, name: object) -> bool:
        """Whether a member has this name, whatever it is."""
        if not isinstance(name, (str, bytes)):
            return False
        member = _encoded(name)
        if member is None or not member.strip(b"/"):
            return False
        try:
            _check_links(self, member, is_last_free=True)
        except KeyError:
            return False
        return True

    def __delitem__(self, name: str | bytes) -> None:
        """Removes a link; what stands before the last slash passes the gate."""
        _check_links(self, self._e(name), is_last_free=True)
        super().__delitem__(name)


class SafeFile(SafeGroup, h5py.File):  # type: ignore[misc]  # h5py has no types
    """An open file that gives out only what has passed the gate."""

    def __init__(self, identifier: Any, policy: Policy = UNTRUSTED):
        h5py.File.__init__(self, identifier)
        self.policy = policy
        self.plain_groups: set[bytes] = set()

    @property
    def attrs(self) -> SafeAttributes:
        """Attributes of the root group."""
        return SafeAttributes(self["/"])

    def with_policy(self, policy: Policy) -> SafeFile:
        """Returns the same open file for somebody who trusts it more, or less."""
        return self if policy == self.policy else SafeFile(self.id, policy)


class SafeDataset(h5py.Dataset):  # type: ignore[misc]  # h5py has no types
    """A dataset that has passed the gate; so do its attributes.

    Attributes:
        policy: How much the file is trusted.
    """

    policy = UNTRUSTED

    @property
    def attrs(self) -> SafeAttributes:
        """Attributes of the dataset."""
        return SafeAttributes(self)


class SafeAttributes(h5py.AttributeManager):  # type: ignore[misc]  # h5py has no types
    """Attributes that pass the gate before they are read."""

    def __getitem__(self, name: str) -> Any:
        """Returns the value of an attribute.

        Raises:
            KeyError: There is none.
            UnsafeFileError: It is neither a number nor a string, or too large.
            CorruptDataError: HDF5 cannot read it.
        """
        member = self._e(name)
        if not h5py.h5a.exists(self._id, member):
            raise KeyError(name)
        try:
            attribute = h5py.h5a.open(self._id, member)
            _check_attribute(attribute, name, _path(self._id, b""))
            text = read_text(attribute)
            return super().__getitem__(name) if text is None else text
        except UnsafeFileError:
            raise
        except _HDF5_ERRORS as error:
            where = _path(self._id, b"")
            raise CorruptDataError(
                f"the attribute {name!r} of {where} is damaged: {error}", location=where
            ) from error


def policy_of(thing: h5py.Group | h5py.Dataset) -> Policy:
    """Returns how much the file is trusted that a group or dataset belongs to."""
    policy: Policy = getattr(thing, "policy", UNTRUSTED)
    return policy


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
    member = _encoded(path)
    if member is None:
        raise KeyError(f"no link can have the name {path!r}")
    if policy_of(group).is_trusted:
        return h5py.h5o.open(group.id, member, _link_access())
    _check_links(group, member)
    return _open(group.id, member)


def open_link(parent: Any, link: bytes) -> Any:
    """Returns the HDF5 identifier of a member of a group that is given by its identifier.

    Raises:
        KeyError: There is no such member.
        UnsafeFileError: The link is no hard link.
        CorruptDataError: HDF5 cannot open it.
    """
    return open_member(h5py.Group(parent), link)


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
    is_trusted = policy_of(group).is_trusted
    for link, kind in found:
        if b"/" in link or link == b"." or not is_wanted(link):
            continue  # what HDF5 would take for a path leads to something else
        if kind == h5py.h5l.TYPE_HARD:
            yield link, _open(group.id, link)
        elif is_trusted and check_member(group, link):
            yield link, open_member(group, link)


def check_member(group: h5py.Group, path: bytes) -> bool:
    """Whether there is a member that may be opened: false if there is none, or it may not."""
    if policy_of(group).is_trusted:
        return bool(h5py.h5o.exists_by_name(group.id, path, _link_access()))
    try:
        _check_links(group, path)
    except (KeyError, UnsafeFileError):
        return False
    return True


def check_dataset(dataset: Any, policy: Policy = UNTRUSTED) -> Any:
    """Returns the creation properties of a dataset that may be read.

    Args:
        dataset: HDF5 identifier.
        policy: How much the file is trusted.

    Raises:
        UnsafeFileError: It asks for other files, for filters of others, or for a type or size that
            no scene file has.
        CorruptDataError: It says that it is larger than what the file holds of it.
    """
    try:
        properties = dataset.get_create_plist()
        reason = _unsafe_storage(dataset, properties, policy)
    except H5SceneError:
        raise
    except _HDF5_ERRORS as error:
        where = _path(dataset, b"")
        raise CorruptDataError(f"{where} is damaged: {error}", location=where) from error
    if reason is not None:
        where = _path(dataset, b"")
        raise UnsafeFileError(f"{where} {reason}", location=where)
    return properties


def read_text(attribute: Any) -> str | None:
    """Returns a string, of fixed or variable length; `None` of an attribute that is something else.

    Args:
        attribute: HDF5 identifier.
    """
    kind = attribute.get_type()
    if not isinstance(kind, h5py.h5t.TypeStringID) or attribute.shape != ():
        return None
    if kind.is_variable_str():  # h5py would make a dtype for each, which takes as long as all else
        value = np.empty((), _VARIABLE_STRING)
        attribute.read(value, _VARIABLE_STRING_TYPE)
    else:
        value = np.empty((), attribute.dtype)
        attribute.read(value)
    text = value.item()
    return text.decode(errors="surrogateescape") if isinstance(text, bytes) else str(text)


def walk(group: h5py.Group) -> Iterator[tuple[str, Any]]:
    """Yields the members of a group, of its groups, and so on: paths and objects, no order.

    Links that are no hard links, and names that are no UTF-8, are passed over.

    Raises:
        UnsafeFileError: Two links lead to one group, or groups are nested too deeply.
    """
    met = {_address(group.id)}
    pending = [("", group, 0)]
    while pending:
        prefix, parent, depth = pending.pop()
        for name in parent:
            if not isinstance(name, str) or not check_member(parent, name.encode()):
                continue
            member, path = parent[name], f"{prefix}{name}"
            yield path, member
            if isinstance(member, h5py.Group):
                address = _address(member.id)
                if address in met or depth >= _MAX_NESTING:
                    problem = "in a loop of links" if address in met else "nested too deeply"
                    raise UnsafeFileError(f"{member.name} is {problem}", location=str(member.name))
                met.add(address)
                pending.append((f"{path}/", member, depth + 1))


# --- inside ---------------------------------------------------------------------------------------


def _open(parent: Any, member: bytes) -> Any:
    """Returns the HDF5 identifier of a member that may be opened.

    Raises:
        CorruptDataError: HDF5 cannot open it.
    """
    try:
        return h5py.h5o.open(parent, member)
    except _HDF5_ERRORS as error:
        where = _path(parent, member)
        raise CorruptDataError(
            f"{where} is damaged, HDF5 cannot open it: {error}", location=where
        ) from error


def _check_links(group: h5py.Group, path: bytes, *, is_last_free: bool = False) -> None:
    """Raises UnsafeFileError for a link on a path that is no hard link, KeyError for a missing one.

    The last one may be of any kind where only the link itself is meant.
    """
    policy = policy_of(group)
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


def _check_link(group: h5py.Group, links: Any, path: bytes, policy: Policy) -> None:
    """Raises UnsafeFileError when a link is no hard link, KeyError when there is none."""
    if path in (b"/", b"."):
        return  # the group itself
    kind = _link_type(group, links, path)
    if kind != h5py.h5l.TYPE_HARD and not policy.is_trusted:
        where = _path(group.id, path)
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
    except _HDF5_ERRORS as error:
        where = _path(group.id, path)
        try:
            if not links.exists(path):
                raise KeyError(f"{where} does not exist") from None
        except (OSError, RuntimeError, ValueError):
            pass  # it cannot even say that
        raise CorruptDataError(f"the link {where} is damaged: {error}", location=where) from error
    return kind


def _check_attribute(attribute: Any, name: str, where: str) -> None:
    """Raises UnsafeFileError when an attribute is neither number nor string, or too large."""
    kind = attribute.get_type()
    if not isinstance(kind, h5py.h5t.TypeStringID) and not _is_number(kind):
        raise UnsafeFileError(
            f"the attribute {name!r} of {where} is neither a number nor a string", location=where
        )
    size_bytes = math.prod(attribute.shape or ()) * kind.get_size()
    if size_bytes > MAX_ATTRIBUTE_BYTES:
        raise UnsafeFileError(
            f"the attribute {name!r} of {where} says that it has {size_bytes} bytes",
            location=where,
        )


def _unsafe_storage(dataset: Any, properties: Any, policy: Policy) -> str | None:
    """Returns what is wrong with a dataset; `None` if nothing is.

    Raises:
        CorruptDataError: It says that it is larger than what the file holds of it.
    """
    layout = properties.get_layout()
    if policy.is_trusted:
        return None
    if layout == h5py.h5d.CONTIGUOUS and properties.get_external_count():
        return "has its data in another file"
    dtype = dataset.dtype
    if dtype.kind not in _NUMBER_KINDS:
        return f"holds no numbers but {dtype}"
    if layout == h5py.h5d.VIRTUAL:
        return _unsafe_sources(dataset, properties)
    is_chunked = layout == h5py.h5d.CHUNKED
    if is_chunked:
        filters = tuple(properties.get_filter(i)[0] for i in range(properties.get_nfilters()))
        if filters not in _KNOWN_PIPELINES:
            return f"has the filters {filters}, which scene files do not have"
    size_bytes = math.prod(map(int, dataset.shape or ())) * dtype.itemsize
    if size_bytes > _ALWAYS_ALLOWED_BYTES:
        _check_size(dataset, size_bytes, policy, is_chunked=is_chunked)
    return None


def _check_size(dataset: Any, size_bytes: int, policy: Policy, *, is_chunked: bool) -> None:
    """Raises when the values cannot stand in what the file holds of them, or are too large.

    Raises:
        CorruptDataError: They cannot.
        UnsafeFileError: They are larger than allowed.
    """
    stored_bytes = dataset.get_storage_size()
    if size_bytes > stored_bytes * (MAX_DEFLATE_RATIO if is_chunked else 1):
        where = _path(dataset, b"")
        raise CorruptDataError(
            f"{where} says that it has {size_bytes} bytes; the file holds {stored_bytes} bytes of "
            "it",
            location=where,
        )
    if size_bytes > policy.array_limit_bytes:
        where = _path(dataset, b"")
        raise UnsafeFileError(
            f"{where} has {size_bytes} bytes once it is unpacked, and at most "
            f"{policy.array_limit_bytes} are allowed; allow more with max_array_bytes",
            location=where,
        )


def _unsafe_sources(dataset: Any, properties: Any) -> str | None:
    """Returns what is wrong with a virtual dataset; `None` if nothing is."""
    root = SafeGroup(h5py.h5g.open(h5py.h5i.get_file_id(dataset), b"/"))
    for i in range(properties.get_virtual_count()):
        if properties.get_virtual_filename(i) != ".":
            return f"shows data of another file, {properties.get_virtual_filename(i)!r}"
        name = properties.get_virtual_dsetname(i)
        try:
            source = open_member(root, name)
        except KeyError:
            return f"shows {name!r}, which is not there"
        is_dataset = isinstance(source, h5py.h5d.DatasetID)
        if not is_dataset or source.get_create_plist().get_layout() == h5py.h5d.VIRTUAL:
            return f"shows {name!r}, which is no dataset with data of its own"
        check_dataset(source)
    return None


def _is_number(kind: Any) -> bool:
    """Whether an HDF5 type is one of numbers, not of pointers or bytes without a meaning."""
    numbers = (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID, h5py.h5t.TypeEnumID)
    if isinstance(kind, numbers):
        return True
    if not isinstance(kind, h5py.h5t.TypeCompoundID) or kind.get_nmembers() != 2:
        return False
    return all(isinstance(kind.get_member_type(i), h5py.h5t.TypeFloatID) for i in range(2))


def _link_access() -> Any:
    """Returns how links into other files are followed: read-only, and not through our own file."""
    access = h5py.h5p.create(h5py.h5p.LINK_ACCESS)
    other = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    other.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    other.set_fapl_sec2()
    access.set_elink_fapl(other)
    access.set_elink_acc_flags(h5py.h5f.ACC_RDONLY)
    return access


def _encoded(path: str | bytes) -> bytes | None:
    """Returns a path as HDF5 takes it; `None` if no link can have it."""
    if isinstance(path, str):
        try:
            path = path.encode(errors="surrogateescape")
        except UnicodeEncodeError:
            return None
    return None if b"\0" in path or not path else path


def _address(identifier: Any) -> Any:
    """Returns what tells an object of a file from others."""
    return h5py.h5o.get_info(identifier).addr


def _path(identifier: Any, member: str | bytes) -> str:
    """Returns the HDF5 path of a member for people."""
    name = h5py.h5i.get_name(identifier) or b"?"
    member = member.encode(errors="replace") if isinstance(member, str) else member
    whole = b"/".join((name.rstrip(b"/"), member)) if member else name
    return whole.decode(errors="replace")
