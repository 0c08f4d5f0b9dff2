"""The part of `Scene` that holds attached files, such as the script of the simulation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from phiml import math

from h5scene.calling_script import calling_scripts, context, is_library_file
from h5scene.errors import BatchMismatchError, InvalidInputError, NotFoundError
from h5scene.scene_batch import SceneBatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phiml.math import Tensor


class SceneAttachments(SceneBatch):
    """Attached files by name."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the attached files, such as `src/plume.py`, sorted; of all scenes of a batch."""
        return tuple(sorted(set().union(*self._from_each(lambda file, scene: file.files(scene)))))

    def read_file(self, name: str) -> bytes:
        """Returns the content of an attached file.

        Raises:
            NotFoundError: No file of this name is attached.
            BatchMismatchError: The scenes of a batch have different files of this name.
        """
        contents = self._from_each(lambda file, scene: file.read_file(scene, name))
        if any(content != contents[0] for content in contents):
            raise BatchMismatchError(
                f"the scenes have different files {name!r}; read them one scene at a time"
            )
        return contents[0]

    def write_file(self, name: str, content: bytes | str) -> None:
        """Attaches a file to the scene, or to each of a batch; one that has this name is replaced.

        Args:
            name: Path relative to the scene, such as `src/plume.py`.
            content: Bytes, or text to be stored as UTF-8.

        Raises:
            InvalidNameError: `name` is empty, absolute, or leaves the scene.
            AlreadyExistsError: A part of `name` is an attached file.
        """
        self._write_files({name: content})

    def remove_file(self, name: str) -> None:
        """Removes an attached file, from all scenes of a batch.

        Raises:
            NotFoundError: No file of this name is attached.
        """
        for file, members in self._by_file():
            file.remove_file([m.scene for m in members], name)

    def _write_files(self, files: Mapping[str, bytes | str]) -> None:
        contents: dict[str, bytes] = {}
        for name, content in files.items():
            if not isinstance(content, (str, bytes, bytearray, memoryview)):
                raise InvalidInputError(
                    f"the content of {name!r} must be bytes or text, not {type(content).__name__}"
                )
            if isinstance(content, str):
                # Text of the file system may hold bytes that are no UTF-8; these stay as they were.
                content = content.encode(errors="surrogateescape")
            contents[name] = bytes(content)
        for file, members in self._by_file():
            file.write_files({m.scene: contents for m in members})

    def subpath(
        self,
        name: str,
        create: bool = False,  # noqa: ARG002  # as PhiFlow's signature
        create_parent: bool = False,  # noqa: ARG002  # as PhiFlow's signature
    ) -> str | Tensor:
        """Returns the path of an attached file; a `Tensor` of paths in a batch.

        It is that of the scene, a slash, and `name`: a place in the scene file, which `open` does
        not know. Use `read_file` and `write_file`.

        Args:
            name: Path relative to the scene, such as `src/plume.py`.
            create: Has no effect: directories of attached files need not be created.
            create_parent: Has no effect either.
        """
        return math.map(lambda path: f"{path}/{name}", self._paths)

    def copy_calling_script(
        self, full_trace: bool = False, include_context_information: bool = True
    ) -> None:
        """Attaches the script that calls this as `src/<name>`.

        In IPython, the cells so far as `src/ipython.py`.

        Args:
            full_trace: Whether to attach all scripts that lead to the call.
            include_context_information: Whether to attach `src/context.json` with versions and
                `sys.argv`.

        Raises:
            ReadOnlyError: The file cannot be written.
        """
        scripts = calling_scripts(full_trace=full_trace)
        files: dict[str, bytes | str] = {f"src/{name}": text for name, text in scripts.items()}
        if include_context_information:
            files["src/context.json"] = context()
        self._write_files(files)

    def copy_src(self, script_path: str | os.PathLike[str], only_external: bool = True) -> None:
        """Attaches a script as `src/<name>`.

        Args:
            script_path: Path of the script.
            only_external: Whether to pass over files of PhiFlow, PhiML and h5scene.

        Raises:
            NotFoundError: There is no such script.
        """
        if only_external and is_library_file(os.fspath(script_path)):
            return
        try:
            content = Path(script_path).read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(
                f"there is no script {os.fspath(script_path)!r} to attach"
            ) from error
        self._write_files({f"src/{Path(script_path).name}": content})

    def copy_src_text(self, filename: str, text: str) -> None:
        """Attaches text as `src/<filename>`.

        Raises:
            InvalidNameError: `filename` is empty, absolute, or leaves the scene.
        """
        self._write_files({f"src/{filename}": text})
