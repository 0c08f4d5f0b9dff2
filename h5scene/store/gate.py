"""The gate that every object of a file passes before it is used.

A scene file may come from anybody. HDF5 does what a file asks for: it follows links into other
files, reads raw data from any path, hands pointers from the file to NumPy, and recurses as deep as
the file says. The store therefore gives out `SafeFile`, an `h5py.File` that opens its members by
the rules below, and so do the groups that come from it. Code that uses h5py's lower level opens
objects with `links.open_member` and `datasets.check_dataset`, which are the same rules.

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
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.errors import CorruptDataError, UnsafeFileError
from h5scene.store.access import UNTRUSTED, Access, Policy
from h5scene.store.datasets import CheckedDataset, check_dataset
from h5scene.store.links import (
    HDF5_ERRORS,
    check_links,
    check_member,
    encoded,
    open_member,
    path_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ATTRIBUTE_BYTES = 64 << 20
"""Longer attributes are not read. HDF5 itself keeps attributes of this size in memory whole."""
_VARIABLE_STRING = h5py.string_dtype()
_VARIABLE_STRING_TYPE = h5py.h5t.py_create(_VARIABLE_STRING)
_MAX_NESTING = 64


class SafeGroup(h5py.Group):  # type: ignore[misc]  # h5py has no types
    """A group whose members and attributes pass the gate.

    Attributes:
        access: What is known of its file.
    """

    access = UNTRUSTED

    @classmethod
    def of(cls, identifier: Any, access: Access) -> SafeGroup:
        """Returns the group of an HDF5 identifier."""
        group = cls(identifier)
        group.access = access
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
            return SafeGroup.of(opened, self.access)
        if isinstance(opened, h5py.h5d.DatasetID):
            dataset = SafeDataset(opened)
            dataset.checked = check_dataset(opened, self.access)
            return dataset
        raise UnsafeFileError(
            f"{path_of(self.id, name)} is neither a group nor a dataset",
            location=path_of(self.id, name),
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
        member = encoded(name)
        if member is None or not member.strip(b"/"):
            return False
        try:
            check_links(self, member, is_last_free=True)
        except KeyError:
            return False
        return True

    def __delitem__(self, name: str | bytes) -> None:
        """Removes a link; what stands before the last slash passes the gate."""
        if "/" in name if isinstance(name, str) else b"/" in name:
            check_links(self, self._e(name), is_last_free=True)
        super().__delitem__(name)


class SafeFile(SafeGroup, h5py.File):  # type: ignore[misc]  # h5py has no types
    """An open file that gives out only what has passed the gate."""

    def __init__(self, identifier: Any, access: Access = UNTRUSTED):
        h5py.File.__init__(self, identifier)
        self.access = access
        self.plain_groups: set[bytes] = set()

    @property
    def attrs(self) -> SafeAttributes:
        """Attributes of the root group."""
        return SafeAttributes(self["/"])

    def with_policy(self, policy: Policy) -> SafeFile:
        """Returns the same open file for somebody who trusts it more, or less."""
        access = self.access
        return (
            self if policy == access.policy else SafeFile(self.id, replace(access, policy=policy))
        )


class SafeDataset(h5py.Dataset):  # type: ignore[misc]  # h5py has no types
    """A dataset that has passed the gate; so do its attributes.

    Attributes:
        checked: What was learnt of it there.
    """

    checked: CheckedDataset

    @property
    def access(self) -> Access:
        """What is known of its file."""
        return self.checked.access

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
            _check_attribute(attribute, name, path_of(self._id))
            text = read_text(attribute)
            return super().__getitem__(name) if text is None else text
        except UnsafeFileError:
            raise
        except HDF5_ERRORS as error:
            raise _damaged(name, path_of(self._id), error) from error


def checked(dataset: h5py.Dataset) -> CheckedDataset:
    """Returns a dataset for reading; raises as `check_dataset` where it has not passed before."""
    return dataset.checked if isinstance(dataset, SafeDataset) else check_dataset(dataset.id)


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
    elif kind.get_strpad() == h5py.h5t.STR_NULLPAD:  # as NumPy has it
        value = np.empty((), f"S{kind.get_size()}")
        attribute.read(value, kind)
    else:
        value = np.empty((), attribute.dtype)
        attribute.read(value)
    text = value.item()
    return text.decode(errors="surrogateescape") if isinstance(text, bytes) else str(text)


def text_attribute(holder: Any, name: bytes) -> str | None:
    """Returns a text; `None` where there is no such attribute, or it is something else.

    Args:
        holder: HDF5 identifier of a group or dataset.
        name: Of the attribute.

    Raises:
        UnsafeFileError: It is too large.
        CorruptDataError: HDF5 cannot read it.
    """
    if not h5py.h5a.exists(holder, name):
        return None
    try:
        attribute = h5py.h5a.open(holder, name)
        size_bytes = attribute.get_type().get_size()
        if size_bytes > MAX_ATTRIBUTE_BYTES:
            raise _too_large(name.decode(errors="replace"), path_of(holder), size_bytes)
        return read_text(attribute)
    except UnsafeFileError:
        raise
    except HDF5_ERRORS as error:
        raise _damaged(name.decode(errors="replace"), path_of(holder), error) from error


def address_of(identifier: Any) -> Any:
    """Returns what tells an object of a file from others."""
    return h5py.h5o.get_info(identifier).addr


def walk(group: h5py.Group) -> Iterator[tuple[str, Any]]:
    """Yields the members of a group, of its groups, and so on: paths and objects, no order.

    Links that are no hard links, and names that are no UTF-8, are passed over.

    Raises:
        UnsafeFileError: Two links lead to one group, or groups are nested too deeply.
    """
    met = {address_of(group.id)}
    pending = [("", group, 0)]
    while pending:
        prefix, parent, depth = pending.pop()
        for name in parent:
            if not isinstance(name, str) or not check_member(parent, name.encode()):
                continue
            member, path = parent[name], f"{prefix}{name}"
            yield path, member
            if isinstance(member, h5py.Group):
                address = address_of(member.id)
                if address in met or depth >= _MAX_NESTING:
                    problem = "in a loop of links" if address in met else "nested too deeply"
                    raise UnsafeFileError(f"{member.name} is {problem}", location=str(member.name))
                met.add(address)
                pending.append((f"{path}/", member, depth + 1))


# --- inside ---------------------------------------------------------------------------------------


def _check_attribute(attribute: Any, name: str, where: str) -> None:
    """Raises UnsafeFileError when an attribute is neither number nor string, or too large."""
    kind = attribute.get_type()
    if not isinstance(kind, h5py.h5t.TypeStringID) and not _is_number(kind):
        raise UnsafeFileError(
            f"the attribute {name!r} of {where} is neither a number nor a string", location=where
        )
    if attribute.shape is None:
        raise UnsafeFileError(f"the attribute {name!r} of {where} has no value", location=where)
    size_bytes = math.prod(attribute.shape) * kind.get_size()
    if size_bytes > MAX_ATTRIBUTE_BYTES:
        raise _too_large(name, where, size_bytes)


def _too_large(name: str, where: str, size_bytes: int) -> UnsafeFileError:
    """Returns the error of an attribute that is not read for its size."""
    return UnsafeFileError(
        f"the attribute {name!r} of {where} says that it has {size_bytes} bytes", location=where
    )


def _damaged(name: str, where: str, error: Exception) -> CorruptDataError:
    """Returns the error of an attribute that HDF5 cannot read."""
    return CorruptDataError(
        f"the attribute {name!r} of {where} is damaged: {error}", location=where
    )


def _is_number(kind: Any) -> bool:
    """Whether an HDF5 type is one of numbers, not of pointers or bytes without a meaning."""
    numbers = (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID, h5py.h5t.TypeEnumID)
    if isinstance(kind, numbers):
        return True
    if not isinstance(kind, h5py.h5t.TypeCompoundID) or kind.get_nmembers() != 2:
        return False
    return all(isinstance(kind.get_member_type(i), h5py.h5t.TypeFloatID) for i in range(2))
