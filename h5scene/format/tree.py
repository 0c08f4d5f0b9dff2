"""The groups of an open scene file: its scenes, their fields and the frames of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from h5scene._version import __version__
from h5scene.errors import (
    FieldNotFoundError,
    FrameNotFoundError,
    InvalidNameError,
    NotASceneFileError,
    SceneNotFoundError,
    UnsupportedVersionError,
)
from h5scene.format import codec, descriptions, forms, groups, layout, names, statistics
from h5scene.format.frame_selections import selected_frames
from h5scene.format.objects import SharedObjects
from h5scene.store.links import hard_links

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import h5py

    from h5scene.format.descriptions import Member
    from h5scene.format.filters import Compression
    from h5scene.format.frame_selections import FrameSelection
    from h5scene.format.readings import Slices
    from h5scene.record import Array, FieldDescription, FieldRecord, ObjectRecord
    from h5scene.regions import Region


def initialise(h5: h5py.Group) -> None:
    """Makes a new HDF5 file a scene file without scenes."""
    h5.attrs[layout.FORMAT_ATTR] = layout.FORMAT_VERSION
    h5.attrs[layout.CREATOR_ATTR] = f"h5scene {__version__}"


@dataclass(frozen=True)
class PlannedFrame:
    """One frame of one field, ready to be written.

    Attributes:
        members: What the frame holds beside its values.
        attributes: The description, where the field or the frame has to get it.
        keep_digits: How many decimal digits of the values to keep; all of them by default.
        put_values: Writes the values, where `values` is but an outline of them.
    """

    scene: str
    name: str
    frame_link: str
    description: FieldDescription
    values: Array
    members: Mapping[str, Member]
    attributes: Mapping[str, Any]
    keep_digits: int | None = None
    put_values: codec.PutValues | None = None


class SceneTree:
    """One state of an open scene file.

    Args:
        h5: The open file.
        cache: What earlier trees of this file found out. Whoever gives it empties it when the file
            was changed by others.
        path: How messages name the file.

    Raises:
        NotASceneFileError: The file is no scene file.
        UnsupportedVersionError: It was written by a newer h5scene.
    """

    def __init__(self, h5: h5py.Group, cache: dict[Any, Any], path: str):
        self.h5 = h5
        self._cache = cache
        self._path = path
        self._objects = SharedObjects(h5, cache)
        if "format" not in cache:
            cache["format"] = self._checked_format()

    def where(self, scene: str) -> str:
        """Returns how messages name a scene."""
        return f"{self._path}/{scene}"

    # --- scenes -----------------------------------------------------------------------------------

    def scene_names(self) -> tuple[str, ...]:
        """Returns the names of all scenes, sorted."""
        known = [link for link in groups.link_names(self.h5) if ("scene", link) in self._cache]
        found = groups.links_of_kind(
            self.h5,
            layout.SCENE_KIND,
            lambda link: ("scene", link) not in self._cache and names.may_be_used(link),
        )
        self._cache.update((("scene", scene), True) for scene in found)
        return tuple(sorted((*known, *found)))

    def has_scene(self, scene: str) -> bool:
        """Whether there is a scene of this name; false when something else has the name."""
        key = ("scene", scene)
        if key not in self._cache:
            if not names.may_be_used(scene):
                return False
            if groups.member_kind(self.h5, scene) != layout.SCENE_KIND:
                return False
            self._cache[key] = True
        return True

    def scene(self, scene: str) -> h5py.Group:
        """Returns the group of a scene.

        Raises:
            SceneNotFoundError: There is no such scene.
        """
        if not self.has_scene(scene):
            raise SceneNotFoundError(
                f"no scene {scene!r} in {self._path}; {names.listed(self.scene_names())}",
                location=f"/{scene}",
            )
        group = self.h5[scene]
        if ("checked", scene) not in self._cache:
            groups.check_mark(group, layout.SCENE_KIND)
            self._cache["checked", scene] = True
        return group

    def check_scene(self, scene: str) -> None:
        """Raises SceneNotFoundError when there is no such scene."""
        if ("checked", scene) not in self._cache:
            self.scene(scene)

    def next_number(self, series: str) -> int:
        """Returns the number after the highest one that something of a series of scenes has."""
        numbers = (names.scene_number(link, series) for link in groups.text_names(self.h5))
        return max((number for number in numbers if number is not None), default=-1) + 1

    def create_scene(self, scene: str) -> None:
        """Creates an empty scene, which must not exist."""
        groups.create(self.h5, scene, layout.SCENE_KIND)
        self._cache["scene", scene] = True

    def remove_scene(self, scene: str) -> None:
        """Removes a scene, which must exist."""
        del self.h5[scene]
        self._forget(scene)

    def move_scene(self, scene: str, new_name: str) -> None:
        """Gives a scene, which must exist, a name that is free."""
        self.h5.move(scene, new_name)
        self._forget(scene)

    # --- fields -----------------------------------------------------------------------------------

    def fieldnames(self, scene: str) -> tuple[str, ...]:
        """Returns the names of the fields of a scene, sorted."""
        return groups.links_of_kind(self.scene(scene), layout.FIELD_KIND, names.may_be_used)

    def fields_of(self, scene: str, structure: str) -> tuple[str, ...]:
        """Returns the given names of the fields that are members of a structure, sorted.

        Those of the structure `fluid` are `fluid.velocity`, `fluid.smoke.density` and the like.
        """
        group = self.scene(scene)
        given = (
            groups.read_attribute(group[link], layout.NAME_ATTR) for link in self.fieldnames(scene)
        )
        beginning = structure + names.MEMBER_SEPARATOR
        return tuple(
            sorted(name for name in given if isinstance(name, str) and name.startswith(beginning))
        )

    def find_field(self, scene: str, name: str) -> str:
        """Returns the stored field that `name` means: the exact one, else one that differs in case.

        Raises:
            FieldNotFoundError: There is none, or there are several.
        """
        link = names.field_link(name)
        if ("description", scene, link) in self._cache:
            return link
        if groups.member_kind(self.h5, f"{scene}/{link}") == layout.FIELD_KIND:
            return link  # whatever has become of the other fields
        try:
            return names.find_field(self.fieldnames(scene), name, self.where(scene))
        except FieldNotFoundError as error:
            error.location = f"/{scene}"
            raise

    def frames(self, scene: str, field_link: str) -> tuple[int, ...]:
        """Returns the numbers of the frames of a stored field, sorted."""
        links = hard_links(self.h5[scene][field_link])
        numbers = (names.frame_of_link(link.decode(errors="replace")) for link in links)
        return tuple(sorted(number for number in numbers if number is not None))

    def plan_frame(
        self,
        scene: str,
        name: str,
        frame: int,
        record: FieldRecord,
        *,
        keep_digits: int | None = None,
    ) -> PlannedFrame:
        """Returns all that `write_frame` needs. Everything that can be refused is refused here.

        Raises:
            SceneNotFoundError: There is no such scene.
            InvalidNameError: The field is stored already under a name that was spelled otherwise.
            InvalidInputError: The record does not fit together.
            UnsupportedFieldError: The values are no numbers.
        """
        self.check_scene(scene)
        self._check_spelling(scene, name)
        codec.check_values(record, f"field {name!r}")
        link = names.field_link(name)
        described, members = descriptions.split_arrays(record.description)
        if record.geometry is not None:
            members[layout.GEOMETRY_GROUP] = record.geometry
        if record.structure is not None:
            members[layout.STRUCTURE_GROUP] = record.structure
        for key, member in members.items():
            codec.check_member(member, f"{key} of field {name!r}")
        attributes: dict[str, Any] = {}
        if not self._has_field(scene, link) or not self._is_described(scene, link, described):
            attributes = descriptions.stored_attributes(described)
        return PlannedFrame(
            scene=scene,
            name=name,
            frame_link=names.frame_link(frame),
            description=described,
            values=record.values,
            members=members,
            attributes=attributes,
            keep_digits=keep_digits,
        )

    def _is_described(self, scene: str, link: str, description: FieldDescription) -> bool:
        """Whether this is the description that frames of the field share."""
        known = self._description(scene, link)
        if description is known:
            return True
        if description != known:
            return False
        # The next frame is likely to have this very object: comparing takes a tenth of a frame.
        self._cache["description", scene, link] = description
        return True

    def write_frame(
        self, planned: PlannedFrame, compression: Compression, *, workers: int = 1
    ) -> None:
        """Writes one frame of a field, in place of one that is stored."""
        # By their paths: h5py takes as long to open a group as to write a small frame into it.
        link = names.field_link(planned.name)
        path = f"{planned.scene}/{link}"
        frame_path = f"{path}/{planned.frame_link}"
        attributes = planned.attributes
        is_first, target = False, frame_path
        if self._has_field(planned.scene, link):
            self._note_form(planned, link)
            if groups.has_member(self.h5, frame_path):
                statistics.drop_row(self.h5[planned.scene], link, int(planned.frame_link))
                if planned.members:  # which the frame may share with the one that it replaces
                    target = f"{path}/{layout.NEW_FRAME_LINK}"
                else:
                    del self.h5[frame_path]
        else:
            is_first = True
            field = groups.create(self.h5, path, layout.FIELD_KIND)
            given = {layout.NAME_ATTR: planned.name} if planned.name != link else {}
            groups.describe(field, {**given, **attributes})
            attributes = {}
            self._cache["description", planned.scene, link] = planned.description
            self._cache["spelling", planned.scene, link] = planned.name

        def put_object(frame: str, member: str, record: ObjectRecord) -> None:
            self._objects.put(
                frame,
                member,
                record,
                compression,
                workers=workers,
                final=frame_path,
                is_first=is_first,
            )

        codec.write_frame(
            self.h5,
            target,
            planned.values,
            planned.members,
            attributes,
            compression,
            workers=workers,
            keep_digits=planned.keep_digits,
            put_object=put_object,
            put_values=planned.put_values,
        )
        if target != frame_path:
            del self.h5[frame_path]
            self.h5.move(target, frame_path)

    def remove_field(self, scene: str, link: str) -> None:
        """Removes a stored field with all its frames."""
        statistics.drop_table(self.h5[scene], link)
        del self.h5[scene][link]
        self._forget(scene)

    def remove_frame(self, scene: str, link: str, frame: int) -> None:
        """Removes a frame, which must exist. The field stays, even without frames."""
        statistics.drop_row(self.h5[scene], link, frame)
        del self.h5[scene][link][names.frame_link(frame)]

    def remove_frames_after(self, scene: str, frame: int) -> None:
        """Removes the later frames of all fields, and fields that have no other ones.

        What tables say of these frames goes with `tables.remove_rows_after`.
        """
        for link in self.fieldnames(scene):
            frames = self.frames(scene, link)
            if frames and frames[0] > frame:
                self.remove_field(scene, link)
                continue
            field = self.h5[scene][link]
            for number in frames:
                if number > frame:
                    del field[names.frame_link(number)]
        self._forget(scene)

    def selected_frames(
        self, scenes: Sequence[str], fieldnames: Sequence[str], selection: FrameSelection
    ) -> tuple[int, ...]:
        """Returns the frames that are meant, of those that all of these fields have in all scenes.

        Raises:
            FieldNotFoundError: A scene has no field of this name.
            FrameNotFoundError: There are none, or too few to count from the last.
            InvalidInputError: This selects no frames, or one of them twice.
        """
        what = f"{', '.join(map(repr, fieldnames))} in {', '.join(map(self.where, scenes[:3]))}"
        return selected_frames(selection, lambda: self.common_frames(scenes, fieldnames), what)

    def common_frames(self, scenes: Sequence[str], fieldnames: Sequence[str]) -> tuple[int, ...]:
        """Returns the numbers of the frames that all of these fields have in all scenes, sorted."""
        common: set[int] | None = None
        for scene in scenes:
            self.check_scene(scene)
            for name in fieldnames:
                frames = self.frames(scene, self.find_field(scene, name))
                common = set(frames) if common is None else common.intersection(frames)
        return tuple(sorted(common or ()))

    def check_frames(self, scene: str, name: str, frames: Sequence[int]) -> None:
        """Raises FrameNotFoundError when a frame of a field is not stored."""
        self.check_scene(scene)
        link = self.find_field(scene, name)
        missing = [frame for frame in frames if not self._has_frame(scene, link, frame)]
        if missing:
            raise self._no_frames(scene, link, missing)

    def read_field(
        self,
        scene: str,
        name: str,
        frame: int,
        region: Region | Sequence[Region] | None = None,
        *,
        workers: int = 1,
    ) -> FieldRecord:
        """Returns one frame of a field, or a part of it.

        Raises:
            FieldNotFoundError: The scene has no field of this name.
            FrameNotFoundError: The field is not stored for this frame.
            CorruptDataError: What is stored is not what FORMAT.md says.
            InvalidInputError: There is no such region.
            UnsupportedFieldError: The region is no field that could be described.
        """
        path, shared = self.stored_frame(scene, name, frame)
        return codec.read_frame(
            self.h5, path, shared, region, workers=workers, get_object=self._get_object(workers)
        )

    def open_frame(
        self, scene: str, name: str, frame: int, *, workers: int = 1
    ) -> codec.StoredFrame:
        """Returns one frame of a field, whose values are still to be read; raises as above."""
        path, shared = self.stored_frame(scene, name, frame)
        return codec.open_frame(
            self.h5, path, shared, workers=workers, get_object=self._get_object(workers)
        )

    def read_values(
        self,
        scene: str,
        name: str,
        frame: int,
        region: Mapping[str, slice],
        *,
        workers: int = 1,
    ) -> Array:
        """Returns the values of one frame in a region; raises as `read_field` does.

        Raises:
            InvalidInputError: The field has no such dim, or a step is not positive.
        """
        opened = self.open_frame(scene, name, frame, workers=workers)
        return codec.read_region(opened, region, workers=workers)

    def check_frame(self, scene: str, name: str, frame: int) -> None:
        """Raises as `read_field` does where the scene, the field or the frame is missing."""
        self.stored_frame(scene, name, frame)

    def read_part(
        self,
        scene: str,
        name: str,
        frame: int,
        form: forms.FrameForm,
        region: Slices | None = None,
        *,
        workers: int = 1,
    ) -> Array:
        """Returns the values of a frame of a known form, or those in a region.

        Raises as `read_field` does.

        Raises:
            InvalidInputError: The frame has another form.
        """
        path, _ = self.stored_frame(scene, name, frame)
        return forms.read_part(self.h5, path, form, region, workers=workers)

    def max_relative_error(self, scene: str, name: str, frame: int) -> float:
        """Returns by how much of their magnitude values were rounded at most; 0 if not at all."""
        path, _ = self.stored_frame(scene, name, frame)
        return codec.read_max_relative_error(self.h5, path)

    # --- inside -----------------------------------------------------------------------------------

    def _get_object(self, workers: int) -> codec.ReadObject:
        """Returns what gives the objects that frames share."""
        return lambda group: self._objects.read(group, workers=workers)

    def _has_field(self, scene: str, link: str) -> bool:
        """Whether something has the name of this field. The scene must exist."""
        known = ("description", scene, link) in self._cache
        return known or groups.has_member(self.h5, f"{scene}/{link}")

    def _note_form(self, planned: PlannedFrame, link: str) -> None:
        """Says on a field that its frames vary, if this new one differs from them."""
        key = ("form", planned.scene, link)
        form = (
            planned.values.shape,
            planned.values.dtype,
            planned.description if planned.attributes else None,
            layout.STRUCTURE_GROUP in planned.members,
        )
        if self._cache.get(key) == form and not planned.attributes:
            return  # nearly every frame
        field = self.h5[planned.scene][link]
        if forms.makes_vary(field, forms.FrameForm(*form)):
            field.attrs[layout.FRAMES_VARY_ATTR] = 1
        self._cache[key] = form

    def stored_frame(self, scene: str, name: str, frame: int) -> tuple[str, FieldDescription]:
        """Returns the path of a frame, which must exist, and the description of its field."""
        self.check_scene(scene)
        link = self.find_field(scene, name)
        number = names.whole_number(frame, "a frame")
        if number < 0:
            (number,) = self.selected_frames([scene], [name], number)
        if not self._has_frame(scene, link, number):
            raise self._no_frames(scene, link, [number])
        return f"{scene}/{link}/{names.frame_link(number)}", self._description(scene, link)

    def _has_frame(self, scene: str, link: str, frame: int) -> bool:
        """Whether a frame of a stored field exists."""
        return 0 <= frame <= names.MAX_FRAME and groups.has_member(
            self.h5, f"{scene}/{link}/{names.frame_link(frame)}"
        )

    def _no_frames(self, scene: str, link: str, missing: Sequence[int]) -> FrameNotFoundError:
        """Returns the error for frames of a stored field that do not exist."""
        numbers = ", ".join(map(str, missing[:8])) + (", …" if len(missing) > 8 else "")
        return FrameNotFoundError(
            f"no frame{'s' if len(missing) > 1 else ''} {numbers} of {link!r} in "
            f"{self.where(scene)}; {_listed_frames(self.frames(scene, link))}",
            location=f"/{scene}/{link}",
        )

    def _checked_format(self) -> str:
        """Returns the version of the file format, which this h5scene can read."""
        version = groups.read_attribute(self.h5, layout.FORMAT_ATTR, may_be_array=True)
        if groups.major(version) < 1:
            raise NotASceneFileError(
                f"{self._path} is an HDF5 file, but no scene file: it has no attribute "
                f"{layout.FORMAT_ATTR!r}"
            )
        if groups.major(version) > groups.major(layout.FORMAT_VERSION):
            raise UnsupportedVersionError(
                f"{self._path} has format version {version}; this h5scene {__version__} knows "
                f"versions up to {layout.FORMAT_VERSION}: install a newer one"
            )
        return str(version)

    def _description(self, scene: str, field_link: str) -> FieldDescription:
        """Returns the description that the frames of a stored field share."""
        key = ("description", scene, field_link)
        if key not in self._cache:
            field = self.h5[scene][field_link]
            groups.check_mark(field, layout.FIELD_KIND)
            self._cache[key] = descriptions.read_description(field)
        described: FieldDescription = self._cache[key]
        return described

    def _check_spelling(self, scene: str, name: str) -> None:
        """Raises InvalidNameError when the field is stored under a name spelled otherwise."""
        link = names.field_link(name)
        key = ("spelling", scene, link)
        if key not in self._cache:
            group = self.scene(scene)
            if link not in group:
                return
            if groups.member_kind(group, link) != layout.FIELD_KIND:
                raise InvalidNameError(
                    f"{self.where(scene)}/{link} exists and is no field; use another name"
                )
            spelled = groups.read_attribute(group[link], layout.NAME_ATTR)
            self._cache[key] = link if spelled is None else spelled
        if self._cache[key] != name:
            raise InvalidNameError(
                f"field name {name!r} is stored as {link!r}, where {self.where(scene)} holds the "
                f"field {self._cache[key]!r} already; use that name, or another one"
            )

    def _forget(self, scene: str) -> None:
        """Drops what is known about a scene."""
        for key in [key for key in self._cache if isinstance(key, tuple) and key[1] == scene]:
            del self._cache[key]


def _listed_frames(frames: Sequence[int]) -> str:
    """Returns frame numbers for an error message."""
    if len(frames) <= 6:
        return names.listed(frames)
    return f"it has {len(frames)} frames from {frames[0]} to {frames[-1]}"
