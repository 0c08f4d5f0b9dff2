"""PhiFlow simulations in one HDF5 file.

`Scene` has the API of `phi.field.Scene`; where PhiFlow writes a directory of npz files for each
scene, h5scene writes a group in one HDF5 file. `SceneFile` reads and writes the same files as
NumPy arrays, without PhiFlow. `errors` holds what they raise, `cluster` what the ranks of MPI do
together.

Importing `h5scene` is cheap: PhiFlow and HDF5 are imported when `Scene` or `SceneFile` is first
used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from h5scene import errors
from h5scene._version import __version__

if TYPE_CHECKING:
    from h5scene import cluster
    from h5scene.handling.checking import check
    from h5scene.handling.comparing import compare
    from h5scene.handling.copying import copy_file, copy_scenes, split
    from h5scene.handling.merging import MergeReport, merge
    from h5scene.handling.recovering import recover
    from h5scene.handling.repacking import repack
    from h5scene.interop.scene_directories import export_scenes, import_scenes
    from h5scene.interop.xarray_fields import field_from_xarray
    from h5scene.scene import Scene
    from h5scene.scene_file import SceneFile

__all__ = [
    "MergeReport",
    "Scene",
    "SceneFile",
    "__version__",
    "check",
    "cluster",
    "compare",
    "copy_file",
    "copy_scenes",
    "errors",
    "export_scenes",
    "field_from_xarray",
    "import_scenes",
    "merge",
    "recover",
    "repack",
    "split",
]

_LOADED_ON_FIRST_USE = {
    "MergeReport": "h5scene.handling.merging",
    "Scene": "h5scene.scene",
    "SceneFile": "h5scene.scene_file",
    "check": "h5scene.handling.checking",
    "cluster": "h5scene.cluster",
    "compare": "h5scene.handling.comparing",
    "copy_file": "h5scene.handling.copying",
    "copy_scenes": "h5scene.handling.copying",
    "export_scenes": "h5scene.interop.scene_directories",
    "field_from_xarray": "h5scene.interop.xarray_fields",
    "import_scenes": "h5scene.interop.scene_directories",
    "merge": "h5scene.handling.merging",
    "recover": "h5scene.handling.recovering",
    "repack": "h5scene.handling.repacking",
    "split": "h5scene.handling.copying",
}


def __getattr__(name: str) -> Any:
    """Imports a public name on its first use (PEP 562)."""
    if name not in _LOADED_ON_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_LOADED_ON_FIRST_USE[name])
    is_module = module.__name__ == f"{__name__}.{name}"
    value = module if is_module else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Lists the public names, loaded or not."""
    return sorted(__all__)
