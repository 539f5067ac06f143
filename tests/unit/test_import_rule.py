"""Who may import whom: discover → plan → apply → serve, and nothing points back."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PROBES = {Path("dhcp/probe/dhcp4.py"), Path("dhcp/probe/dhcp6.py")}
EXTRAS = {
    "prometheus_client": {Path("launcher/sight/exposition.py"), Path("launcher/sight/http_server.py")},
    "pytest": {Path("launcher/testing/plugin.py")},
    "shtab": {Path("launcher/verbs/tools/completion.py")},
}
"""What an extra of setup.cfg installs, and who may import that."""
FORBIDDEN = {
    "dhcp": {"pyroute2", "libvirt", "netsetup", "launcher", "msgspec", "yaml"},
    "netsetup": {"scapy", "libvirt", "dhcp", "launcher", "yaml"},
}
LEAN = "dhcp.lean"
"""Stand-ins for heavy standard modules, with nothing of DHCP in them: everybody may import these."""
THIRD_PARTY = {
    "dhcp": set(),
    "netsetup": {"pyroute2"},
    "launcher": {"libvirt", "libvirt_qemu", "msgspec", "pycdlib", "yaml"},
}
SOURCES = [path for package in ("dhcp", "netsetup", "launcher") for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Top-level names of all modules that a file imports, wherever in the file, with the line; `LEAN` by its own."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield _owner(alias.name), node.lineno
        elif isinstance(node, ast.ImportFrom):
            # a relative import stays within its package
            yield _owner(node.module or "") if node.level == 0 else path.parent.name, node.lineno


def _owner(module: str) -> str:
    return LEAN if f"{module}.".startswith(f"{LEAN}.") else module.partition(".")[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_imports_what_its_package_must_not(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    forbidden = FORBIDDEN.get(package, set())
    if path.relative_to(ROOT) not in PROBES:
        forbidden = forbidden | {"scapy"}  # GPL-2.0-only, and heavy: a judge, never part of what serves a VM
    assert [(name, line) for name, line in imported(path) if name in forbidden] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_imports_what_is_not_installed_with_it(path: Path) -> None:
    """Wherever in the file: the standard library, our own packages, and what setup.cfg requires of each."""
    package = path.relative_to(ROOT).parts[0]
    allowed = sys.stdlib_module_names | THIRD_PARTY.keys() | THIRD_PARTY[package] | {LEAN}
    if path.relative_to(ROOT) in PROBES:
        allowed |= {"scapy"}
    allowed |= {name for name, users in EXTRAS.items() if path.relative_to(ROOT) in users}
    assert [(name, line) for name, line in imported(path) if name not in allowed] == []


def test_the_lean_modules_need_the_standard_library_only() -> None:
    found = {name for path in (ROOT / "dhcp/lean").glob("*.py") for name, _ in imported(path)}
    assert found <= sys.stdlib_module_names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_imports_the_tests(path: Path) -> None:
    theirs = {"tests", "lab", "hypothesis"} | ({"pytest"} if path.relative_to(ROOT) not in EXTRAS["pytest"] else set())
    assert [name for name, _ in imported(path) if name in theirs] == []


def test_the_server_needs_the_standard_library_only() -> None:
    """It runs as `python -I -S`, where site-packages do not exist."""
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "dhcp").rglob("*.py")
        if path.stem not in {"__init__", "__main__"} and path.relative_to(ROOT) not in PROBES
    )
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport {', '.join(modules)}"
    completed = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr


def test_the_server_has_the_modules_in_c_before_it_becomes_another_user() -> None:
    """What a function imports is of the package, which stays reachable, or of the interpreter, or there already."""
    program = (
        f"import sys; sys.path.append({str(ROOT)!r}); import dhcp.daemon.args; from dhcp.daemon.late_modules import *\n"
        "keep_importable(); print(*sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", program]
    there = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    lacking = {
        node.module
        for path in (ROOT / "dhcp").rglob("*.py")
        if path.relative_to(ROOT) not in PROBES and path.stem not in {"process", "connection"}  # the launcher's
        for node in executed(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("dhcp")
        if node.module not in there
    }
    # without the C part of json or ctypes; to say what is no JSON; for the server in a thread of other programs, which
    # may ask for a dataclass's fields
    assert lacking - set(sys.builtin_module_names) <= {"json", "ctypes", "threading", "dataclasses"}


def executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                yield other
                yield from executed(other)
        else:
            yield node
            yield from executed(node)


def test_reading_a_manifests_types_costs_no_heavy_import() -> None:
    """`prestart` imports launcher.vmi.model on its way to the first OFFER."""
    program = "import launcher.vmi.model, launcher.machine.domain_xml, sys; print(*sys.modules)"
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert {"yaml", "msgspec", "libvirt", "xml.etree.ElementTree", "pyroute2"}.isdisjoint(completed.stdout.split())
