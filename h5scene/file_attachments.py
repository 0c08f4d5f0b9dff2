"""The part of `SceneFile` that holds attached files, such as the script of a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from h5scene.errors import NotFoundError
from h5scene.format import attached_files, layout, names
from h5scene.open_file import OpenFile, in_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import h5py

    from h5scene.format import tree


class FileAttachments(OpenFile):
    """Files attached to the scenes of a file."""

    @in_sandbox
    def files(self, scene: str) -> tuple[str, ...]:
        """Returns the names of the files attached to the scene, such as `src/plume.py`, sorted.

        Raises:
            SceneNotFoundError: There is no such scene.
        """
        return self._read(lambda file: attached_files.attached_files(file.scene(scene)), scene)

    @in_sandbox
    def read_file(self, scene: str, name: str) -> bytes:
        """Returns the content of an attached file.

        Raises:
            NotFoundError: No file of this name is attached.
            SceneNotFoundError: There is no such scene.
        """
        with self._located(scene):
            link = names.attached_file_link(name)

        def read(file: tree.SceneTree) -> bytes:
            group = file.scene(scene)
            found = attached_files.find_file(group, link)
            if found is None:
                raise _not_attached(name, group, file.where(scene))
            return attached_files.read_bytes(found)

        return self._read(read, scene)

    def write_files(self, files: Mapping[str, Mapping[str, bytes]]) -> None:
        """Attaches files, given by scene and name, in place of those that have the name.

        All of them become visible, or none.

        Raises:
            InvalidNameError: A name is empty, absolute, or leaves the scene.
            AlreadyExistsError: A path would be a file and a directory.
            SceneNotFoundError: There is no such scene.
        """
        for scene, contents in files.items():
            with self._located(scene):
                for name in contents:
                    names.attached_file_link(name)
        with self._transaction() as file:
            for scene, contents in files.items():
                with self._located(scene):
                    attached_files.check_attachable(file.scene(scene), contents, file.where(scene))
            for scene, contents in files.items():
                group = file.scene(scene).require_group(layout.FILES_GROUP)
                for name, content in contents.items():
                    attached_files.write_bytes(group, name, content)

    def remove_file(self, scenes: Iterable[str], name: str) -> None:
        """Removes an attached file from these scenes.

        Raises:
            NotFoundError: One of the scenes has no such file.
            SceneNotFoundError: There is no such scene.
        """
        with self._located(None):
            link = names.attached_file_link(name)
        with self._transaction() as file:
            groups = {scene: file.scene(scene) for scene in scenes}
            for scene, group in groups.items():
                if attached_files.find_file(group, link) is None:
                    with self._located(scene):
                        raise _not_attached(name, group, file.where(scene))
            for group in groups.values():
                del group[layout.FILES_GROUP][link]


def _not_attached(name: str, scene: h5py.Group, where: str) -> NotFoundError:
    """Returns the error for a file that is not there."""
    files = attached_files.attached_files(scene)
    return NotFoundError(f"no file {name!r} is attached to {where}; {names.listed(files)}")
