"""How our files depend on each other: without cycles, and the pure ones on nothing that does I/O."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("dhcp", "launcher", "netsetup")
    for path in sorted((ROOT / package).rglob("*.py"))
}
PURE = sorted(
    name for name, path in MODULES.items() if "Pure." in (ast.get_docstring(ast.parse(path.read_text())) or "")
)
IMPURE = {"socket", "_socket", "ctypes", "_ctypes", "select", "fcntl", "subprocess", "pyroute2"}
PURE_FOLDERS = ("dhcp.wire", "dhcp.v4", "dhcp.v6")


def imported(tree: ast.AST) -> Iterator[str]:
    """What a file imports, wherever in the file: in functions, for type checkers alone, and by a literal name."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (module, *(f"{module}.{alias.name}" for alias in names))
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield module


def imports(path: Path) -> Iterator[str]:
    """Those of our modules among them."""
    return (name for name in imported(ast.parse(path.read_text())) if name in MODULES)


def impure(tree: ast.AST) -> set[str]:
    return {name for name in imported(tree) if name.partition(".")[0] in IMPURE}


@pytest.mark.parametrize("module", MODULES)
def test_no_import_is_relative(module: str) -> None:
    """The tests here, and whoever searches for a module's name, find every import."""
    nodes = ast.walk(ast.parse(MODULES[module].read_text()))
    assert [node.lineno for node in nodes if isinstance(node, ast.ImportFrom) and node.level] == []


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = {name: set(imports(path)) for name, path in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_what_decides_about_a_frame_is_pure() -> None:
    folders = {name for name in MODULES if name.startswith(PURE_FOLDERS)}
    assert folders | {"dhcp.handler", "dhcp.decision", "dhcp.config", "dhcp.config6"} <= set(PURE)


def test_what_decides_about_a_pod_is_pure() -> None:
    folders = {
        name for name in MODULES if name.startswith(("netsetup.model.", "netsetup.bindings.", "launcher.dhcpconfig."))
    }
    folders -= {"netsetup.bindings.registry"}  # reads what is installed, and imports by name
    others = {"netsetup.plan", "netsetup.steps", "netsetup.admission", "launcher.request", "launcher.interface_xml"}
    assert folders | others <= set(PURE)


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_loads_nothing_that_does_io(module: str) -> None:
    loaded = {name for name in loaded_with(module) if name.partition(".")[0] in IMPURE}
    assert loaded == set()


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_names_nothing_that_does_io(module: str) -> None:
    """Nor does a function of it, or of what it imports, which the modules that are loaded do not show."""
    named = {name: found for name in closure(module) if (found := impure(ast.parse(MODULES[name].read_text())))}
    assert named == {}


@pytest.mark.parametrize(
    "code",
    [
        "import socket",
        "import os, socket as s",
        "def f():\n from socket import AF_INET",
        "def f():\n import pyroute2.netlink",
        "x = import_module('ctypes')",
        "x = importlib.import_module('ctypes.util')",
        "x = __import__('select')",
    ],
)
def test_the_test_sees_it(code: str) -> None:
    assert impure(ast.parse(code))


def closure(module: str) -> set[str]:
    """This module, those of ours that it imports wherever in the file, and so on."""
    wanted = {module}
    while added := {name for one in wanted for name in imports(MODULES[one])} - wanted:
        wanted |= added
    return wanted


def loaded_with(module: str) -> list[str]:
    """All that is loaded after this module and each that it imports in a function."""
    wanted = closure(module)
    program = f"import sys; sys.path.append({str(ROOT)!r}); import {', '.join(sorted(wanted))}; print(*sys.modules)"
    command = [sys.executable, "-I", *(["-S"] if module.startswith("dhcp") else []), "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
