"""The examples in the docstrings run, and print what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import h5scene

# Modules of an extra, and what it installs.
NEEDS = {
    "h5scene.interop.xarray_backend": "xarray",
    "h5scene.interop.xarray_fields": "xarray",
    "h5scene.torch_data": "torch",
}


def _namespace() -> dict[str, Any]:
    """Returns the names that examples use without importing them."""
    namespace: dict[str, Any] = {}
    exec("from phi.flow import *\nfrom h5scene import *", namespace)  # noqa: S102  # as users do
    return namespace


def _modules() -> list[str]:
    found = pkgutil.walk_packages(h5scene.__path__, "h5scene.")
    return sorted(module.name for module in found if not module.name.endswith("__main__"))


@pytest.mark.parametrize("name", _modules())
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")
    module = importlib.import_module(name)
    report: list[str] = []
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder(exclude_empty=True).find(module):
        if not example.examples:
            continue
        folder = tmp_path / example.name
        folder.mkdir()
        monkeypatch.chdir(folder)
        example.globs = {**_namespace(), **vars(module)}
        runner.run(example, out=report.append)
    assert not report, "".join(report)
