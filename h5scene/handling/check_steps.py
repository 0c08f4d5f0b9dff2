"""What is looked at in a scene file, in steps that each read one state of it.

A step says what it found in plain values, so that it can run in a process of its own. It never
raises for what is wrong with the file, unless HDF5 can make nothing of it at all.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import h5py
import numpy as np

from h5scene.errors import CorruptDataError, FormatError, H5SceneError, UnsafeFileError
from h5scene.format import (
    attached_files,
    codec,
    forms,
    groups,
    layout,
    names,
    plain_arrays,
    properties,
    tables,
)
from h5scene.format.descriptions import read_description
from h5scene.format.json_values import is_json, load_json
from h5scene.store.gate import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from h5scene.format.tree import SceneTree
    from h5scene.scene_file import SceneFile

Kind: TypeAlias = Literal["damaged", "unsafe", "invalid", "unknown"]
Result: TypeAlias = dict[str, Any]
"""`findings`: triples of path, kind and message. `counts`: numbers by what was counted. `names`: of
what is to be looked at next. `done`: how many of the frames were looked at."""


_STEP_S = 0.5
_MOST_ALIKE = 3
"""Findings of one step that say the same of many objects are told so many times, then counted."""
_HDF5_ERRORS = (KeyError, OSError, RuntimeError, ValueError, TypeError)
_FRAME_ATTRS = frozenset(
    {
        *layout.DESCRIPTION_ATTRS,
        layout.DESCRIPTION_CHECKSUM_ATTR,
        layout.CHECKSUM_ATTR,
        layout.MAX_RELATIVE_ERROR_ATTR,
        *layout.SCENE_ATTRS,
    }
)
_FIELD_ATTRS = frozenset({*_FRAME_ATTRS, layout.NAME_ATTR, layout.FRAMES_VARY_ATTR})
_ROOT_ATTRS = frozenset({layout.FORMAT_ATTR, layout.CREATOR_ATTR})


class _Notes:
    """What one step finds."""

    def __init__(self) -> None:
        self.findings: list[tuple[str, Kind, str]] = []
        self.counts: Counter[str] = Counter()
        self._alike: Counter[tuple[str, Kind, str]] = Counter()

    def add(self, path: str, kind: Kind, message: str) -> None:
        """Notes a finding; of those that say the same of members of one group, the first ones."""
        key = (path.rpartition("/")[0], kind, message)
        self._alike[key] += 1
        if self._alike[key] <= _MOST_ALIKE:
            self.findings.append((path, kind, message))

    def error(self, path: str, error: Exception) -> None:
        """Notes an error that reading something raised."""
        if isinstance(error, UnsafeFileError):
            kind: Kind = "unsafe"
        elif isinstance(error, CorruptDataError) or not isinstance(error, FormatError):
            kind = "damaged"
        else:
            kind = "invalid"
        where = getattr(error, "location", None) or path
        self.add(where if where.startswith(path) else path, kind, str(error))

    def attempt(self, path: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Returns what a function returns; an error is noted, and `None` is returned."""
        try:
            return function(*arguments)
        except H5SceneError as error:
            if not isinstance(error, FormatError):
                raise
            self.error(path, error)
        except _HDF5_ERRORS as error:
            self.error(path, error)
        return None

    def result(self, **more: Any) -> Result:
        """Returns what was found, in plain values."""
        for (group, kind, message), count in self._alike.items():
            if count > _MOST_ALIKE:
                rest = f"and {count - _MOST_ALIKE:,} more members, of which it holds: {message}"
                self.findings.append((f"{group}/…", kind, rest))
        return {"findings": self.findings, "counts": dict(self.counts), **more}


# --- steps ----------------------------------------------------------------------------------------


def root(file: SceneFile) -> Result:
    """Looks at the members of the root group; gives the names of the scenes."""

    def look(tree: SceneTree) -> Result:
        notes, found = _Notes(), []
        _unknown_attributes(notes, tree.h5, "/", _ROOT_ATTRS)
        for link, member in _members(notes, tree.h5, "/"):
            path = f"/{link}"
            if link == layout.OBJECTS_GROUP:
                notes.attempt(path, _objects, notes, tree, member, path)
            elif link == layout.MERGING_GROUP:
                notes.attempt(path, _unfinished, notes, member, path)
            elif link.startswith(layout.RESERVED_PREFIX):
                notes.add(path, "unknown", "is none of the names that the format reserves")
            elif _kind(notes, member, path) == layout.SCENE_KIND:
                found.append(link)
            elif _has_members_of(member, layout.FIELD_KIND):
                notes.add(path, "damaged", "holds fields and does not say that it is a scene")
            else:
                notes.add(path, "unknown", "is no scene")
        return notes.result(names=sorted(found))

    return file._read(look)


def scene(file: SceneFile, name: str) -> Result:
    """Looks at a scene and its members; gives the names of the fields."""

    def look(tree: SceneTree) -> Result:
        notes, found, path = _Notes(), [], f"/{name}"
        group = notes.attempt(path, tree.scene, name)
        if group is None:
            return notes.result(names=[])
        notes.counts["scenes"] += 1
        for link, member in _members(notes, group, path):
            inner = f"{path}/{link}"
            if link in layout.SCENE_PARTS:
                continue
            if link.startswith(layout.RESERVED_PREFIX):
                notes.add(inner, "unknown", "is none of the names that the format reserves")
            elif _kind(notes, member, inner) == layout.FIELD_KIND:
                found.append(link)
            elif isinstance(member, h5py.Group) and any(_frames_in(member)):
                notes.add(inner, "damaged", "holds frames and does not say that it is a field")
            else:
                notes.add(inner, "unknown", "is no field")
        return notes.result(names=sorted(found))

    return file._read(look, name)


def links(file: SceneFile, path: str) -> Result:
    """Gives the names in a group whose members cannot be looked at together."""

    def look(tree: SceneTree) -> Result:
        found = groups.link_names(tree.h5[path])
        known = [link for link in found if not link.startswith(layout.RESERVED_PREFIX)]
        return _Notes().result(names=sorted(filter(names.may_be_listed, known)))

    return file._read(look)


def part(file: SceneFile, name: str, which: str) -> Result:
    """Looks at the properties, times, curves, files, arrays or statistics of a scene."""

    def look(tree: SceneTree) -> Result:
        notes = _Notes()
        group = tree.scene(name)
        notes.attempt(f"/{name}/{which}", _PART_CHECKS[which], notes, tree, group, f"/{name}")
        return notes.result()

    return file._read(look, name)


def field(file: SceneFile, name: str, link: str) -> Result:
    """Looks at what a field says of itself, and at its members; gives the numbers of frames."""

    def look(tree: SceneTree) -> Result:
        notes, path = _Notes(), f"/{name}/{link}"
        group = tree.h5[name][link]
        notes.counts["fields"] += 1
        notes.attempt(path, groups.check_mark, group, layout.FIELD_KIND)
        notes.attempt(path, read_description, group)
        notes.attempt(path, _check_name, notes, group, link, path)
        _unknown_attributes(notes, group, path, _FIELD_ATTRS)
        frames = []
        for member in notes.attempt(path, groups.link_names, group) or ():
            frame = names.frame_of_link(member)
            if frame is not None:
                frames.append(frame)
            elif member == layout.NEW_FRAME_LINK:
                notes.add(f"{path}/{member}", "unknown", "is a frame that was never completed")
            else:
                notes.add(f"{path}/{member}", "unknown", "is no frame")
        return notes.result(names=sorted(frames))

    return file._read(look, name)


def frames(file: SceneFile, name: str, link: str, numbers: Sequence[int]) -> Result:
    """Reads frames of a field, the first of these at least, for about half a second."""

    def look(tree: SceneTree) -> Result:
        notes, path = _Notes(), f"/{name}/{link}"
        end_s = time.monotonic() + _STEP_S
        group = tree.h5[name][link]
        varies = layout.FRAMES_VARY_ATTR in group.attrs
        usual = None if varies else _first_form(group)
        done = 0
        for number in numbers:
            frame_path = f"{path}/{names.frame_link(number)}"
            notes.attempt(frame_path, _frame, notes, tree, file, name, link, number, usual)
            done += 1
            if time.monotonic() > end_s:
                break
        return notes.result(done=done)

    return file._read(look, name)


# --- inside ---------------------------------------------------------------------------------------


def _frame(
    notes: _Notes,
    tree: SceneTree,
    file: SceneFile,
    scene_name: str,
    link: str,
    number: int,
    usual: forms.FrameForm | None,
) -> None:
    """Reads one frame with all it holds."""
    path = f"/{scene_name}/{link}/{names.frame_link(number)}"
    if not groups.has_member(tree.h5, path[1:]):
        return  # removed since its field was listed
    notes.counts["frames"] += 1
    notes.counts["damaged frames"] += 1  # until it has been read
    record = tree.read_field(scene_name, link, number, workers=file._workers)
    member = tree.h5[path[1:]]
    dataset = codec.values_of(member)
    notes.counts["bytes"] += dataset.id.get_storage_size()
    attributes = {one: list(one.attrs) for one in {dataset, member}}  # mostly one and the same
    if layout.MAX_RELATIVE_ERROR_ATTR in attributes[dataset]:
        error = codec.read_max_relative_error(tree.h5, path[1:])
        if not 0 <= error < 1:
            raise CorruptDataError(f"{path} gives {error} as its largest relative error")
    if usual is not None:
        has_own = layout.FIELD_TYPE_ATTR in attributes[member]
        same_form = record.values.shape == usual.shape and record.values.dtype == usual.dtype
        if has_own or not same_form:
            notes.add(
                path,
                "invalid",
                "differs from other frames, and its field has no attribute "
                f"{layout.FRAMES_VARY_ATTR!r} that says so",
            )
    _check_hash(member, record)
    for found in attributes.values():
        _note_unknown(notes, found, path, _FRAME_ATTRS)
    notes.counts["damaged frames"] -= 1


def _check_hash(member: Any, record: Any) -> None:
    """Raises CorruptDataError where an object is not the one that its hash, if ours, names."""
    for link, found in (
        (layout.GEOMETRY_GROUP, record.geometry),
        (layout.STRUCTURE_GROUP, record.structure),
    ):
        if found is None:
            continue
        digest = groups.read_attribute(member[link], layout.CONTENT_HASH_ATTR)
        is_ours = isinstance(digest, str) and len(digest) == len(found.digest)
        if is_ours and digest != found.digest:
            raise CorruptDataError(f"{member.name}/{link} is not what its hash says")


def _first_form(group: h5py.Group) -> forms.FrameForm | None:
    """Returns the form of some frame of a field; `None` if it has none that can be read."""
    try:
        frame = forms.some_frame(group)
        return None if frame is None else forms.read_form(group, frame)
    except (FormatError, *_HDF5_ERRORS):
        return None


def _members(notes: _Notes, group: h5py.Group, path: str) -> Iterator[tuple[str, Any]]:
    """Yields the members of a group that are its own, by name."""
    found = notes.attempt(path, list, group) or []
    for link in found:
        where = f"{path.rstrip('/')}/{link}"
        if not isinstance(link, str) or not names.may_be_listed(link):
            notes.add(where, "unknown", "has a name that is not shown")
            continue
        kind = notes.attempt(where, _link_class, group, link)
        if kind is h5py.SoftLink:
            notes.add(where, "unknown", "is a soft link, which is not followed")
        elif kind is h5py.HardLink:
            member = notes.attempt(where, group.__getitem__, link)
            if member is not None:
                yield link, member
        elif kind is not None:
            notes.add(where, "unsafe", "is a link that may lead out of the file; not followed")


def _link_class(group: h5py.Group, link: str) -> Any:
    """Returns the class of a link."""
    try:
        return group.get(link, getlink=True).__class__
    except TypeError:  # of a kind of its own
        return h5py.ExternalLink


def _kind(notes: _Notes, member: Any, path: str) -> str | None:
    """Returns what a member says it is."""
    if not isinstance(member, h5py.Group):
        return None
    kind: str | None = notes.attempt(path, groups.read_attribute, member, layout.KIND_ATTR)
    return kind


def _has_members_of(group: Any, kind: str) -> bool:
    """Whether a group holds groups of a kind: those of a scene that lost its own."""
    if not isinstance(group, h5py.Group):
        return False
    try:
        return any(groups.member_kind(group, link) == kind for link in groups.link_names(group))
    except (FormatError, *_HDF5_ERRORS):
        return False


def _frames_in(group: h5py.Group) -> Iterator[bool]:
    """Yields true for each member that has the name of a frame."""
    try:
        for link in groups.link_names(group):
            if names.frame_of_link(link) is not None:
                yield True
    except _HDF5_ERRORS:
        return


def _unknown_attributes(notes: _Notes, thing: Any, path: str, known: frozenset[str]) -> None:
    """Notes attributes that the format does not have."""
    _note_unknown(notes, notes.attempt(path, list, thing.attrs) or (), path, known)


def _note_unknown(notes: _Notes, found: Sequence[str], path: str, known: frozenset[str]) -> None:
    """Notes those names of attributes that the format does not have."""
    for name in found:
        if name not in known:
            notes.add(path, "unknown", f"has an attribute {name!r}")


def _check_name(notes: _Notes, group: h5py.Group, link: str, path: str) -> None:
    """Notes a field whose given name does not belong to its stored name."""
    given = groups.read_attribute(group, layout.NAME_ATTR)
    if given is not None and (not isinstance(given, str) or names.field_link(given) != link):
        notes.add(path, "invalid", f"has the name {given!r}, which is not stored as {link!r}")


def _unfinished(notes: _Notes, group: Any, path: str) -> None:
    """Notes what a merge has left that did not finish, and how much that is."""
    count = len(groups.link_names(group))
    end_s = time.monotonic() + _STEP_S
    stored_bytes, is_all = 0, True
    for _, member in walk(group):
        if isinstance(member, h5py.Dataset):
            stored_bytes += member.id.get_storage_size()
        if time.monotonic() > end_s:
            is_all = False
            break
    size = f"{stored_bytes:,} bytes" if is_all else f"more than {stored_bytes:,} bytes"
    notes.add(
        path,
        "unknown",
        f"has incomplete copies of {count:,} scenes, {size}, of a merge that goes on or did not "
        "finish; the next merge of the same files goes on with them",
    )


def _objects(notes: _Notes, tree: SceneTree, group: Any, path: str) -> None:
    """Looks at the list of objects that frames share. Its links may lead nowhere."""
    others = [
        link
        for link in group
        if not isinstance(link, str) or _link_class(group, link) is not h5py.SoftLink
    ]
    for link in others:
        notes.add(f"{path}/{link!s}", "unknown", "is no soft link")
    links = set(group) - set(others)
    notes.counts["objects"] += len(links)
    dangling = sum(not _leads_somewhere(tree, group, link) for link in links)
    if dangling:
        notes.add(path, "unknown", f"{dangling:,} of {len(links):,} links lead nowhere any more")


def _leads_somewhere(tree: SceneTree, group: h5py.Group, link: str) -> bool:
    """Whether a soft link names something in the file; it is not followed."""
    try:
        return group.get(link, getlink=True).path in tree.h5
    except (FormatError, *_HDF5_ERRORS):
        return False


def _properties(notes: _Notes, tree: SceneTree, group: h5py.Group, path: str) -> None:  # noqa: ARG001
    """Reads the properties of a scene one by one."""
    for name in notes.attempt(path, list, group.attrs) or ():
        if name in layout.SCENE_ATTRS:
            continue
        text = notes.attempt(path, groups.read_attribute, group, name)
        if not isinstance(name, str) or (text is not None and not is_json(text)):
            notes.add(path, "unknown", f"has an attribute {name!r} that is no JSON")
        elif text is not None and notes.attempt(path, _loaded, text, name):
            notes.counts["properties"] += 1
    if layout.PROPERTIES_DATASET in group:
        found = properties.read_properties(group)
        notes.counts["properties"] = len(found)


def _loaded(text: str, name: str) -> bool:
    """Whether the text is JSON; raises CorruptDataError if not."""
    try:
        load_json(text)
    except FormatError as error:
        raise CorruptDataError(f"the property {name!r}: {error}") from error
    return True


def _times(notes: _Notes, tree: SceneTree, group: h5py.Group, path: str) -> None:  # noqa: ARG001
    """Reads the times of frames."""
    rows = tables.read_table(group, layout.TIMES_DATASET)
    if not rows.size:
        return
    where = f"{path}/{layout.TIMES_DATASET}"
    if rows.shape[1] != len(layout.TIME_COLUMNS):
        notes.add(where, "invalid", f"has {rows.shape[1]} columns")
        return
    keys, times = rows[:, 0], rows[:, 1]
    if not np.isfinite(rows).all():
        notes.add(where, "invalid", "has frames or times that are not finite")
    elif (
        (keys != np.floor(keys)).any() or (keys < 0).any() or (keys > layout.MAX_TIMED_FRAME).any()
    ):
        notes.add(where, "invalid", "has rows that belong to no frame")
    elif len(np.unique(keys)) < len(keys):
        notes.add(where, "invalid", "has several rows for one frame")
    notes.counts["times"] += len(times)


def _curves(notes: _Notes, tree: SceneTree, group: h5py.Group, path: str) -> None:  # noqa: ARG001
    """Reads scalar curves."""
    where = f"{path}/{layout.CURVES_GROUP}"
    for link, _ in _members(notes, group.get(layout.CURVES_GROUP, {}), where):
        rows = notes.attempt(f"{where}/{link}", tables.read_table, group[layout.CURVES_GROUP], link)
        if rows is not None:
            notes.counts["curves"] += 1


def _files(notes: _Notes, tree: SceneTree, group: h5py.Group, path: str) -> None:  # noqa: ARG001
    """Reads attached files."""
    where = f"{path}/{layout.FILES_GROUP}"
    for name in attached_files.attached_files(group):
        notes.attempt(f"{where}/{name}", _attached, notes, group, name, f"{where}/{name}")


def _attached(notes: _Notes, group: h5py.Group, name: str, path: str) -> None:
    """Reads an attached file."""
    try:
        names.attached_file_link(name)
    except H5SceneError:
        notes.add(path, "unsafe", "has a name that is no path of a file")
    notes.counts["damaged files"] += 1  # until it has been read
    content = attached_files.read_bytes(group[layout.FILES_GROUP][name])
    notes.counts["damaged files"] -= 1
    notes.counts["files"] += 1
    notes.counts["bytes"] += len(content)


def _arrays(notes: _Notes, tree: SceneTree, group: h5py.Group, path: str) -> None:  # noqa: ARG001
    """Reads arrays that are no fields."""
    where = f"{path}/{layout.ARRAYS_GROUP}"
    for name in plain_arrays.array_names(group):
        found = notes.attempt(f"{where}/{name}", plain_arrays.read_arrays, group, name)
        if found is not None:
            notes.counts["arrays"] += len(found)


def _statistics(notes: _Notes, tree: SceneTree, group: h5py.Group, path: str) -> None:
    """Reads statistics, and looks whether they can be true."""
    where = f"{path}/{layout.STATISTICS_GROUP}"
    stored = group.get(layout.STATISTICS_GROUP, {})
    for link, _ in _members(notes, stored, where):
        rows = notes.attempt(f"{where}/{link}", tables.read_table, stored, link)
        if rows is None or not rows.size:
            continue
        problem = _false_statistics(rows, _stored_frames(tree, group, link))
        if problem is not None:
            notes.add(f"{where}/{link}", "invalid", problem)


def _stored_frames(tree: SceneTree, group: h5py.Group, link: str) -> Sequence[int]:
    """Returns the frames of a field; none where there is no such field."""
    return tree.frames(group.name.lstrip("/"), link) if link in group else ()


def _false_statistics(rows: Any, stored: Sequence[int]) -> str | None:
    """Returns why statistics cannot be true; `None` if they can."""
    width = len(layout.STATISTICS_COLUMNS)
    if rows.shape[1] % width != 1 or rows.shape[1] == 1:
        return f"has {rows.shape[1]} columns"
    known = rows[np.isfinite(rows[:, 0]) & (rows[:, 1::width] >= 0).all(1)]
    if not np.isin(known[:, 0], np.asarray(stored, np.float64)).all():
        return "has rows of frames that are not stored"
    count, mean, variance, low, high = (known[:, 1 + i :: width] for i in range(width))
    with np.errstate(invalid="ignore"):
        slack = 1e-6 * (np.abs(low) + np.abs(high))
        is_false = (variance < 0) | (mean < low - slack) | (mean > high + slack) | (low > high)
    return "has numbers that contradict each other" if is_false[count > 0].any() else None


_PART_CHECKS: dict[str, Callable[[_Notes, SceneTree, h5py.Group, str], None]] = {
    layout.PROPERTIES_DATASET: _properties,
    layout.TIMES_DATASET: _times,
    layout.CURVES_GROUP: _curves,
    layout.FILES_GROUP: _files,
    layout.ARRAYS_GROUP: _arrays,
    layout.STATISTICS_GROUP: _statistics,
}
