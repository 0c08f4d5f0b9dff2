"""What `h5scene` shows, and that it is documented and cheap to import."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import h5scene


def _run(code: str) -> str:
    """Returns what a fresh Python prints."""
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_all_names_what_is_visible() -> None:
    assert dir(h5scene) == sorted(h5scene.__all__)
    for name in h5scene.__all__:
        assert getattr(h5scene, name) is not None


def test_star_import_gives_exactly_all() -> None:
    namespace: dict[str, Any] = {}
    exec("from h5scene import *", namespace)  # noqa: S102  # the only way to ask
    assert namespace.keys() - {"__builtins__"} == set(h5scene.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(h5scene, "Scenes")
    with pytest.raises(AttributeError, match="no attribute 'Scenes'"):
        _ = h5scene.Scenes


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        pytest.param("import h5scene; h5scene.errors, h5scene.__version__", set(), id="package"),
        pytest.param("import h5scene; h5scene.SceneFile", {"numpy", "h5py"}, id="SceneFile"),
    ],
)
def test_import_does_not_import_phiflow(code: str, allowed: set[str]) -> None:
    heavy = {"phi", "phiml", "h5py", "numpy", "scipy", "matplotlib", "torch"}
    loaded = set(_run(f"{code}; import sys; print(*sys.modules)").split()) & heavy
    assert loaded <= allowed


def _members() -> Iterator[tuple[str, Any]]:
    """Yields the public objects and the members of classes and modules, by full name."""
    for name in h5scene.__all__:
        value = getattr(h5scene, name)
        if isinstance(value, str):
            continue
        yield name, value
        # A class has members of the classes that it is made of, too.
        sources = inspect.getmro(value)[:-1] if inspect.isclass(value) else (value,)
        for member_name, member in (item for part in sources for item in vars(part).items()):
            own = inspect.isclass(value) or inspect.isclass(member)
            if own and not member_name.startswith("_"):
                # Behind a property or a static method is the function that has the docstring.
                function = getattr(member, "fget", None) or getattr(member, "__func__", member)
                yield f"{name}.{member_name}", function


def test_public_names_have_a_docstring() -> None:
    first_lines = {
        name: (value.__doc__ or "").strip().split("\n")[0].rstrip() for name, value in _members()
    }
    assert len(first_lines) > len(h5scene.__all__)
    assert [name for name, line in first_lines.items() if not line.endswith(".")] == []
