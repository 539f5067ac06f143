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


def imports(path: Path) -> Iterator[str]:
    """Our modules that a file imports, wherever in the file, also for type checkers alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        else:
            continue
        yield from (name for name in names if name in MODULES)


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
    others = {"netsetup.plan", "netsetup.steps", "netsetup.admission", "launcher.request", "launcher.interface_xml"}
    assert folders | others <= set(PURE)


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_loads_nothing_that_does_io(module: str) -> None:
    loaded = {name for name in loaded_with(module) if name.partition(".")[0] in IMPURE}
    assert loaded == set()


def loaded_with(module: str) -> list[str]:
    """All that is loaded after this module and each that it imports in a function."""
    wanted = {module}
    while added := {name for one in wanted for name in imports(MODULES[one])} - wanted:
        wanted |= added
    program = f"import sys; sys.path.append({str(ROOT)!r}); import {', '.join(sorted(wanted))}; print(*sys.modules)"
    command = [sys.executable, "-I", *(["-S"] if module.startswith("dhcp") else []), "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
