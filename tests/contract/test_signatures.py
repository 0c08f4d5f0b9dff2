"""`h5scene.Scene` has every public member of `phi.field.Scene`, to be called the same way."""

from __future__ import annotations

import inspect
from typing import Any

import phi
import pytest
from phi.field import Scene as PhiScene

from h5scene import Scene

# What PhiFlow 3.4 has. A name that is missing here is new in PhiFlow and has no tests yet.
MEMBERS = {
    "at",
    "complete_frames",
    "copy_calling_script",
    "copy_src",
    "copy_src_text",
    "create",
    "exist_properties",
    "exists_config",
    "fieldnames",
    "frames",
    "is_batch",
    "list",
    "mkdir",
    "path",
    "paths",
    "properties",
    "put_properties",
    "put_property",
    "read",
    "read_array",
    "read_field",
    "remove",
    "rename",
    "shape",
    "stack",
    "subpath",
    "write",
    "write_field",
}
OPERATORS = {
    "__eq__",
    "__getattr__",
    "__getitem__",
    "__init__",
    "__repr__",
    "__variable_attrs__",
    "__with_attrs__",
}


def kind(cls: type, name: str) -> str:
    """Returns what a member is: a property, a static method or a method."""
    member = inspect.getattr_static(cls, name)
    if isinstance(member, property):
        return "settable property" if member.fset else "property"
    return "staticmethod" if isinstance(member, staticmethod) else "method"


def parameters(cls: type, name: str) -> list[tuple[str, Any, Any]]:
    """Returns names, kinds and defaults of the parameters, without those that only h5scene has."""
    found = inspect.signature(getattr(cls, name)).parameters.values()
    phi_names = inspect.signature(getattr(PhiScene, name)).parameters
    own = {p.name for p in found if p.kind is p.KEYWORD_ONLY and p.name not in phi_names}
    return [(p.name, p.kind, p.default) for p in found if p.name not in own]


def test_all_members_of_phiflow_are_tested() -> None:
    public = {name for name in vars(PhiScene) if not name.startswith("_")}
    assert public == MEMBERS, f"the public members of phi.field.Scene in PhiFlow {phi.__version__}"


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_members_are_of_the_same_kind(name: str) -> None:
    assert kind(Scene, name) == kind(PhiScene, name)


CALLABLE = sorted(name for name in MEMBERS if "property" not in kind(PhiScene, name))


@pytest.mark.parametrize("name", [*CALLABLE, "__init__"])
def test_parameters_have_the_same_names_order_and_defaults(name: str) -> None:
    """h5scene may have more of them, if they are keyword-only."""
    assert parameters(Scene, name) == parameters(PhiScene, name)


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_operators_exist(name: str) -> None:
    assert inspect.getattr_static(Scene, name) is not inspect.getattr_static(object, name, None)


def test_read_array_is_read_field() -> None:
    assert Scene.read_array is Scene.read_field
