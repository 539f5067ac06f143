"""The seam between the hook and its bindings: nothing outside `netsetup/bindings/` asks which binding a network has."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import pytest

from dhcp.io import sockets
from netsetup.bindings.registry import BUILT_IN, GROUP, MEMBERS
from netsetup.nft.ruleset import OUR_MARK

ROOT = Path(__file__).parent.parent.parent
NAMES = set(BUILT_IN)
BEHIND_THE_SEAM = ("netsetup/bindings", "netsetup/nft/nat.py")
STAND_INS = {"private", "is_private"}
"""What only some bindings have: to ask for it is to ask which binding it is."""
LOOKUPS = {"get", "pop", "setdefault", "index", "count", "startswith", "endswith"}

ALLOWED = {
    ("launcher/demo/pod.py", "bridge"): "a field in the configuration of the CNI plugin of that name",
    (
        "launcher/manifest/instancetype.py",
        "masquerade",
    ): "the manifest's field that `preferredInterfaceMasquerade` fills",
    ("launcher/vmi/interfaces.py", "is_private"): "a member of the seam: which fields of a manifest are for a binding",
    ("launcher/vmi/interfaces.py", "private"): "a variable: DHCP options of private use",
    ("netsetup/apply.py", "is_private"): "a member of the seam: whether there is one such network at most",
    ("netsetup/kernel/rtnl_messages.py", "bridge"): "the kind of a port's master, as the kernel names it",
    ("netsetup/migration.py", "masquerade"): "records of version 2 have a field of that name, and none for the binding",
    ("netsetup/migration.py", "private"): "likewise",
}

COMPARED = {
    ("launcher/verbs/tools/attach.py", "options.binding or DEFAULT_INTERFACE.binding"): "whether the flag is given",
    ("launcher/vmi/interfaces.py", "interface.binding is not None"): "whether the manifest has the field",
    ("netsetup/apply.py", "request.binding == binding"): "which networks have the same one, whichever it is",
    ("netsetup/apply.py", "request.binding != network.binding"): "whether it is the recorded one, whichever it is",
}
"""All that is asked of a network's or request's `binding` without asking the binding itself."""

NAMED = {
    ("launcher/demo/pod.py", "bridge"): (4, "the CNI plugin"),
    ("launcher/doctor/findings.py", "bridge"): (1, "a hop"),
    ("launcher/manifest/instancetype.py", "masquerade"): (1, "the manifest's field, which a preference fills in"),
    ("launcher/manifest/schema.py", "bridge"): (1, "the manifest's field"),
    ("launcher/manifest/schema.py", "masquerade"): (1, "likewise"),
    ("launcher/vmi/model.py", "bridge"): (1, "by default"),
    ("netsetup/kernel/rtnetlink.py", "bridge"): (2, "the kind of a link"),
    ("netsetup/kernel/rtnl_messages.py", "bridge"): (1, "the kind of a port's master"),
    ("netsetup/migration.py", "bridge"): (
        2,
        "a field of records, and what those of version 2 without `masquerade` had",
    ),
    ("netsetup/migration.py", "masquerade"): (4, "a field of those records, and what those with it had"),
    ("netsetup/model/request.py", "bridge"): (1, "by default"),
    ("netsetup/nft/ruleset.py", "bridge"): (1, "nftables' family"),
    ("netsetup/preflight.py", "bridge"): (1, "nftables' family"),
}
"""How often a file has a string that is also a binding's name, and what it means there."""


def outside() -> Iterator[str]:
    for package in ("dhcp", "launcher", "netsetup"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if not name.startswith(BEHIND_THE_SEAM):
                yield name


def named(node: ast.AST | None) -> Iterator[tuple[str, int]]:
    """Names of bindings among the constants of an expression, with the line."""
    for part in ast.walk(node) if node else ():
        if isinstance(part, ast.Constant) and part.value in NAMES:
            yield str(part.value), part.lineno


def stand_ins(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Stand-ins for a name that a condition looks at, be they attributes or variables; calls have conditions of
    their own."""
    if isinstance(node, ast.Call):
        return
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    if name in STAND_INS:
        yield name, node.lineno  # type: ignore[attr-defined]
    for part in ast.iter_child_nodes(node):
        yield from stand_ins(part)


def decisions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Where a binding's name, or a stand-in for it, decides something."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare():
                yield from named(node)
                yield from stand_ins(node)
            case ast.MatchValue(value):
                yield from named(value)
            case ast.Dict(keys):
                for key in keys:
                    yield from named(key)
            case ast.Subscript(slice=key):
                yield from named(key)
            case ast.Call(func=ast.Attribute(attr=method), args=arguments) if method in LOOKUPS:
                for argument in arguments:
                    yield from named(argument)
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) | ast.Assert(test=test):
                yield from stand_ins(test)
            case ast.BoolOp(values=values):
                for value in values:
                    yield from stand_ins(value)
            case ast.comprehension(ifs=tests):
                for test in tests:
                    yield from stand_ins(test)


def operands(node: ast.AST) -> Sequence[ast.AST]:
    """What this node alone looks at to decide something."""
    match node:
        case ast.Compare(left=left, comparators=others):
            return [left, *others]
        case ast.Match(subject=subject):
            return [subject]
        case ast.Subscript(value=value, slice=key):
            return [value, key]
        case ast.Call(func=ast.Attribute(value=value, attr=method), args=arguments):
            return [value, *(arguments if method in LOOKUPS else [])]
        case ast.Call(func=ast.Name(id="getattr" | "hasattr"), args=arguments):
            return arguments
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) | ast.Assert(test=test):
            return plain(test)
        case ast.BoolOp(values=values) | ast.comprehension(ifs=values):
            return plain(*values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return plain(operand)
    return []


def plain(*conditions: ast.AST) -> list[ast.AST]:
    """Those that are no questions of their own."""
    return [one for one in conditions if not isinstance(one, ast.Compare | ast.BoolOp | ast.UnaryOp)]


def reads_binding(node: ast.AST) -> bool:
    """Whether an expression has somebody's `binding` in it, other than to find the binding's module by."""
    match node:
        case ast.Call(func=ast.Name(id="binding_of")):
            return False
        case ast.Attribute(attr="binding"):
            return True
    return any(reads_binding(part) for part in ast.iter_child_nodes(node))


def questions(tree: ast.AST) -> Iterator[str]:
    """What decides something by somebody's `binding`, as text."""
    for node in ast.walk(tree):
        if any(reads_binding(operand) for operand in operands(node)):
            yield ast.unparse(node).partition("\n")[0]


@pytest.mark.parametrize("path", list(outside()))
def test_nobody_looks_at_the_name(path: str) -> None:
    found = list(questions(ast.parse((ROOT / path).read_text())))
    assert sorted(found) == sorted(question for file, question in COMPARED if file == path)


@pytest.mark.parametrize("path", list(outside()))
def test_nobody_has_the_names(path: str) -> None:
    """In a table, a default or a constant, by which it could ask later."""
    found = Counter(name for name, _ in named(ast.parse((ROOT / path).read_text())))
    assert found == {name: count for (file, name), (count, _) in NAMED.items() if file == path}


@pytest.mark.parametrize("path", list(outside()))
def test_nobody_asks_which_binding_it_is(path: str) -> None:
    found = {name for name, _ in decisions(ast.parse((ROOT / path).read_text()))}
    assert found == {name for file, name in ALLOWED if file == path}


@pytest.mark.parametrize(
    "code",
    [
        "if network.binding == 'fwd': pass",
        "x = name in ('bridge', 'other')",
        "match name:\n case 'masquerade': pass",
        "match name:\n case 'a' | 'bridge': pass",
        "x = {'bridge': 1}[name]",
        "x = table['fwd']",
        "x = table.get('fwd')",
        "x = network.private is None",
        "x = 1 if network.private else 2",
        "x = [n for n in networks if n.private]",
        "x = network.private or other",
        "x = not network.private and 1",
    ],
)
def test_the_test_sees_it(code: str) -> None:
    assert list(decisions(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["x = f'use the {name} or the bridge binding'", "x = call(private=network.private)", "x = a.kind == b.kind"]
)
def test_the_test_does_not_see_ghosts(code: str) -> None:
    assert not list(decisions(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "x = network.binding == OURS",
        "x = network.binding in NAMES",
        "x = NAMES in (1, network.binding)",
        "x = str(network.binding) != name",
        "x = network.binding is name",
        "match network.binding:\n case OURS: pass",
        "match network.binding, 1:\n case _: pass",
        "x = TABLE[network.binding]",
        "x = TABLE.get(network.binding)",
        "x = network.binding[0]",
        "x = network.binding.startswith(OURS)",
        "x = getattr(module, network.binding)",
        "if network.binding: pass",
        "x = [n for n in networks if n.binding]",
        "x = [n for n in networks if n.binding == OURS]",
        "x = [n for n in networks if not n.binding]",
        "x = wished and network.binding",
        "while network.binding is OURS: pass",
    ],
)
def test_the_test_sees_a_look_at_the_name(code: str) -> None:
    assert len(list(questions(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "x = call(binding=network.binding)",
        "x = f'{network.binding}'",
        "x = binding_of(network.binding).rules(network).netdev",
        "x = [n for n in networks if binding_of(n.binding).is_private]",
        "x = binding_of(network.binding).hops(network)[0] == 1",
        "x = interface.binding.name",
    ],
)
def test_the_test_sees_no_question_where_there_is_none(code: str) -> None:
    assert list(questions(ast.parse(code))) == []


def test_the_package_registers_its_own_as_others_do() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options.entry_points"][GROUP].strip().splitlines()
    assert {name.strip(): module.strip() for name, module in (line.split("=") for line in lines)} == BUILT_IN


@pytest.mark.parametrize("module", BUILT_IN.values())
def test_a_binding_has_all_members(module: str) -> None:
    binding = import_module(module)
    assert [member for member in MEMBERS if not hasattr(binding, member)] == []


def test_the_types_of_members_are_those_of_the_protocol(tmp_path: Path) -> None:
    """Of the package's own, and of those from outside; a module can be an implementation for mypy, too."""
    names = {**BUILT_IN, "outside": "outside", "macvtap": "macvtap"}
    imports = [f"import {module} as {name}" for name, module in names.items()]
    lines = ["from netsetup.bindings.binding import Binding", *imports, f"every: list[Binding] = [{', '.join(names)}]"]
    file = tmp_path / "check.py"
    file.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", ROOT / "setup.cfg", "--strict", file],
        cwd=ROOT,
        env={"MYPYPATH": f"{ROOT}:{ROOT / 'tests/outside_binding'}:{ROOT / 'tests/macvtap_binding'}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_has_every_member_and_every_binding() -> None:
    page = (ROOT / "docs/bindings.md").read_text()
    assert tuple(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == MEMBERS
    assert re.findall(r"`(\w+)`", page.partition("\n| | ")[2].partition("\n")[0]) == list(BUILT_IN)


def test_our_sockets_have_the_mark_that_our_tables_let_out() -> None:
    assert sockets.OUR_MARK == OUR_MARK
