"""Scenes into other files: some of them, or one file for each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from h5scene.errors import AlreadyExistsError, InvalidInputError, SceneNotFoundError
from h5scene.format import names, tree
from h5scene.handling.hdf5_trees import TreeCopy, stored_bytes_below
from h5scene.scene_file import SceneFile
from h5scene.store import create_store

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    import h5py

    from h5scene.store import Durability


def copy_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    durability: Durability = "process",
    on_progress: Callable[[int, int], object] | None = None,
) -> int:
    """Copies a scene file to a name that is free, and returns its length in bytes.

    Others may write to it meanwhile: the copy is the last committed state.

    Args:
        source: Path of the scene file.
        target: Path of the copy, which appears when it is whole.
        durability: See `SceneFile`.
        on_progress: Called with the number of bytes that are done, and of all.

    Raises:
        AlreadyExistsError: The target exists.
        H5SceneError: As `SceneFile`, reading and creating.
    """
    with SceneFile(source, "r") as old:
        old._opened().copy_to(target, durability=durability, on_progress=on_progress)
    return Path(target).stat().st_size


def copy_scenes(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    scenes: Sequence[str] | Mapping[str, str] | None = None,
    *,
    overwrite: bool = False,
    durability: Durability = "process",
    on_progress: Callable[[int, int], object] | None = None,
) -> tuple[str, ...]:
    """Copies scenes with all they hold into a scene file, and returns their names there.

    The chunks are moved as they are. Others may write to the source meanwhile.

    Args:
        source: Path of the scene file to copy from.
        target: Path of the scene file to copy to, which is created when there is none. It may be
            the source itself, if the scenes get other names.
        scenes: Names of the scenes, or their new names by the old ones; all scenes by default.
        overwrite: Whether to replace scenes of the target that have these names.
        durability: See `SceneFile`.
        on_progress: Called with the number of bytes that are done, and of all.

    Durability:
        One transaction: on return all of them are in the target, and none of them before.

    Raises:
        SceneNotFoundError: The source has no such scene; nothing was copied.
        AlreadyExistsError: The target has one of the names; nothing was copied.
        InvalidInputError: Two scenes would get one name, or a scene its own.
        H5SceneError: As `SceneFile`, reading and writing.
    """
    with SceneFile(source, "r") as old:
        new_names = _new_names(old, scenes)
        is_same_file = Path(target).exists() and Path(target).samefile(old.path)
        if is_same_file and any(one == other for one, other in new_names.items()):
            raise InvalidInputError(
                f"a scene of {old.path} cannot be copied onto itself; give the copy another name"
            )
        with SceneFile(target, "a", durability=durability) as new:
            for name in new_names.values():
                names.scene_link(name)
            taken = [name for name in new_names.values() if new.has_scene(name)]
            if taken and not overwrite:
                raise AlreadyExistsError(
                    f"{new.path} has {names.quoted(taken)} already; nothing was copied; replace "
                    "them, or give the copies other names",
                    file=new.path,
                )

            def copy(tree_: Any) -> None:
                with new._transaction() as own:
                    for name in new_names.values():
                        if own.has_scene(name):  # also of an attempt that has to be repeated
                            own.remove_scene(name)
                    _copy_into(tree_.h5, own.h5, new_names, on_progress)

            with new.transaction():
                old._read(copy)
    return tuple(new_names.values())


def split(
    source: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    scenes: Sequence[str] | None = None,
    *,
    scenes_per_file: int = 1,
    durability: Durability = "process",
    on_progress: Callable[[int, int], object] | None = None,
) -> tuple[str, ...]:
    """Writes the scenes of a file into new files of their own, and returns the paths of these.

    A file is named like its first scene, `sim_000000.h5`, and appears when it is whole. Files that
    are there already are left alone if they hold these scenes, so a call that was cut off goes on.

    Args:
        source: Path of the scene file.
        directory: Where to put the new files; created when there is none.
        scenes: Names of the scenes; all of them by default.
        scenes_per_file: How many scenes go into one file.
        durability: See `SceneFile`.
        on_progress: Called with the number of scenes that are done, and of all.

    Raises:
        SceneNotFoundError: There is no such scene.
        AlreadyExistsError: A file of another content has the name of a new one.
        InvalidInputError: `scenes_per_file` is not positive.
        H5SceneError: As `SceneFile`, reading and writing.
    """
    if scenes_per_file < 1:
        raise InvalidInputError(f"a file must get at least one scene, not {scenes_per_file}")
    with SceneFile(source, "r") as old:
        chosen = list(_new_names(old, scenes))
        Path(directory).mkdir(parents=True, exist_ok=True)
        paths = []
        for start in range(0, len(chosen), scenes_per_file):
            group = chosen[start : start + scenes_per_file]
            path = str(Path(directory) / f"{group[0]}.h5")
            if not _holds(path, group):
                _write_part(old, path, group, durability)
            paths.append(path)
            if on_progress is not None:
                on_progress(start + len(group), len(chosen))
    return tuple(paths)


def _new_names(file: SceneFile, scenes: Sequence[str] | Mapping[str, str] | None) -> dict[str, str]:
    """Returns the scenes that are meant with the names that they get.

    Raises:
        SceneNotFoundError: There is no such scene.
        InvalidInputError: Two would get one name.
    """
    if scenes is None:
        return {name: name for name in file.scenes}
    new_names = dict(scenes) if hasattr(scenes, "keys") else {name: name for name in scenes}
    for name in new_names:
        if not file.has_scene(name):
            raise SceneNotFoundError(
                f"no scene {name!r} in {file.path}; {names.listed(file.scenes)}", file=file.path
            )
    if len(set(new_names.values())) < len(new_names):
        raise InvalidInputError("two scenes would get one name; choose different ones")
    return new_names


def _copy_into(
    source: h5py.Group,
    target: h5py.Group,
    new_names: Mapping[str, str],
    on_progress: Callable[[int, int], object] | None,
) -> None:
    """Copies scenes from one open file to another."""
    done = total = 0
    if on_progress is not None:
        total = sum(stored_bytes_below(source[name])[1] for name in new_names)

    def add(stored_bytes: int) -> None:
        nonlocal done
        done += stored_bytes
        if on_progress is not None:
            on_progress(done, total)

    copy = TreeCopy(add)
    for name, new_name in new_names.items():
        copy.copy_member(source, name.encode(), target, new_name.encode())
    copy.copy_values()


def _holds(path: str, scenes: Sequence[str]) -> bool:
    """Whether a file is there and is the one that `split` would make.

    Raises:
        AlreadyExistsError: It is there and holds something else.
    """
    if not Path(path).exists():
        return False
    with SceneFile(path, "r") as file:
        if file.scenes == tuple(sorted(scenes)):
            return True
    raise AlreadyExistsError(f"{path} exists, and holds other scenes; choose another directory")


def _write_part(
    source: SceneFile, path: str, scenes: Sequence[str], durability: Durability
) -> None:
    """Writes a new file with some of the scenes."""
    new_names = {name: name for name in scenes}

    def fill(new: h5py.Group) -> None:
        def copy(tree_: Any) -> None:
            for name in scenes:
                if name in new:  # an attempt that has to be repeated
                    del new[name]
            _copy_into(tree_.h5, new, new_names, None)

        source._read(copy)

    create_store(path, tree.initialise, durability=durability, fill=fill).close()
