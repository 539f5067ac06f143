"""The page of configuration fields is made from the classes: every field, its type, default and docstring.

`pytest tests/docs/test_fields.py --update-snapshots` writes docs/fields.md anew.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from .pages import ROOT

PAGE = ROOT / "docs/fields.md"
HEAD = """# Configuration fields

This page is made from the classes and their docstrings (`tests/docs/test_fields.py`). The server's own configuration,
which `python -m dhcp` reads as JSON, has the names of the column *in JSON*; addresses are text there, octets in Python.
"""


@dataclass(frozen=True)
class Documented:
    """A class, where it is, and how its fields are called in JSON where they are not the same."""

    module: str
    name: str
    json: dict[str, str] | None = None


SIX = ("client_address", "router", "uplink", "routes", "on_link", "dns", "options", "lease_end", "preferred_end")
CLASSES = (
    Documented("launcher.request", "SetupRequest"),
    Documented("launcher.vmi.model", "InterfaceSpec"),
    Documented("launcher.vmi.model", "DHCPOptions"),
    Documented("launcher.vmi.model", "Port"),
    Documented("dhcp.config", "ClientConfig", {"allowed_sources": "heard", "prefix_length": "", "ipv6": ""}),
    Documented("dhcp.config", "Route"),
    Documented(
        "dhcp.config6",
        "ClientConfig6",
        {name: f"{name}6" for name in SIX}
        | {"router_mac": "router6_lladdr", "prefix_length": "", "is_default": "", "times": ""},
    ),
)


def tree_of(module: str) -> ast.Module:
    return ast.parse((ROOT / module.replace(".", "/")).with_suffix(".py").read_text())


def table(documented: Documented) -> Iterator[str]:
    (body,) = (
        node
        for node in tree_of(documented.module).body
        if isinstance(node, ast.ClassDef) and node.name == documented.name
    )
    yield f"## {documented.name}\n\n{cell(ast.get_docstring(body) or '')} `{documented.module}.{documented.name}`\n"
    names = documented.json is not None
    yield f"| field |{' in JSON |' if names else ''} type | default | |"
    yield f"|---|{'---|' if names else ''}---|---|---|"
    for node, after in zip(body.body, [*body.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign):
            continue
        said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
        name = ast.unparse(node.target)
        default = f"`{ast.unparse(node.value)}`" if node.value else "required"
        in_json = ""
        if documented.json is not None:
            called = documented.json.get(name, name)
            in_json = f" `{called}` |" if called else " – |"
        yield f"| `{name}` |{in_json} `{cell(ast.unparse(node.annotation))}` | {cell(default)} | {cell(str(said))} |"


def cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def test_the_page_is_that_of_the_classes(pytestconfig: pytest.Config) -> None:
    page = HEAD + "".join("\n" + "\n".join(table(documented)) + "\n" for documented in CLASSES)
    if pytestconfig.getoption("--update-snapshots"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page, "write it anew: pytest tests/docs/test_fields.py --update-snapshots"


def test_every_field_says_what_it_is() -> None:
    """Of the server's configuration, which is read by programs of others."""
    rows = [row for documented in CLASSES if documented.json is not None for row in table(documented)]
    assert [row for row in rows if row.endswith("| |") and not row.startswith("| field")] == []


def test_names_in_json_are_those_that_are_read() -> None:
    """Each is an argument of a method of `Fields`, in the functions that read a whole configuration."""
    read = {
        call.args[0].value
        for module, functions in (
            ("dhcp.config", {"_parse_config", "_parse_times"}),
            ("dhcp.config6", {"parse_config6"}),
        )
        for function in tree_of(module).body
        if isinstance(function, ast.FunctionDef) and function.name in functions
        for call in ast.walk(function)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and ast.unparse(call.func.value) == "fields"
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }
    documented = {
        row.split("|")[2].strip().strip("`")
        for documented in CLASSES
        if documented.json is not None
        for row in table(documented)
        if row.startswith("| `")
    }
    assert documented - {"–"} == read
