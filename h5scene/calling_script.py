"""The script that uses h5scene, to be kept beside what it computed."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

import phi
import phiml

from h5scene._version import __version__

_LIBRARIES = tuple(
    Path(module).resolve().parent for module in (__file__, phi.__file__, phiml.__file__)
)


def is_library_file(path: str) -> bool:
    """Whether a script is a part of PhiFlow, PhiML or h5scene."""
    return any(library in Path(path).resolve().parents for library in _LIBRARIES)


def calling_scripts(*, full_trace: bool) -> dict[str, bytes]:
    """Returns the script that called into h5scene, by file name; in IPython, the cells so far.

    With `full_trace`, all scripts that lead to the call.
    """
    callers = [frame.filename for frame in inspect.stack() if not is_library_file(frame.filename)]
    scripts: dict[str, bytes] = {}
    for caller in callers if full_trace else callers[:1]:
        if caller.endswith(".py"):
            scripts.setdefault(Path(caller).name, Path(caller).read_bytes())
        elif "ipython" in caller.lower() or "ipykernel" in caller.lower():
            scripts["ipython.py"] = _ipython_cells().encode()
    return scripts


def context() -> str:
    """Returns the versions of PhiFlow and h5scene, and the arguments of the script, as JSON."""
    return json.dumps(
        {"phi_version": phi.__version__, "h5scene_version": __version__, "argv": sys.argv}
    )


def _ipython_cells() -> str:
    """Returns the cells that IPython ran so far."""
    from IPython import get_ipython  # only there is it installed

    cells = get_ipython().user_ns["In"]
    return "\n\n".join(f"#%% In[{i}]\n{cell}" for i, cell in enumerate(cells))
