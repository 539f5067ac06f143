"""Mutants of a module: each is the module with one small change of its syntax tree that should break something."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
RULE_WORDS = {" != ": " == ", " drop": " accept", " accept": " drop", " return": " drop", "saddr": "daddr",
              "daddr": "saddr", "iifname": "oifname", "oifname": "iifname", "sport": "dport"}  # fmt: skip
"""In the texts of nft(8), which are code too."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one change."""

    path: str
    scope: str
    """The function or class that it is in; empty for the module's own level."""
    line: int
    before: str
    after: str
    source: str

    @property
    def name(self) -> str:
        """The same as long as the code around it is: ``dhcp/wire/ndp.py _message: flags → None``."""
        return f"{self.path} {self.scope or '-'}: {self.before} → {self.after}"


def mutants(root: Path, path: str, draw: Callable[[int], Iterable[int]] = range) -> Iterator[Mutant]:
    """Mutants of a module in the order of its lines: all, or those that `draw` takes out of so many."""
    tree = ast.parse((root / path).read_text())
    is_ruleset = path.startswith("netsetup/nft/")
    found = [(*place, node, changed) for *place, node in _places(tree, "") for changed in _changes(node, is_ruleset)]
    for at in sorted(draw(len(found))):
        scope, parent, field, index, node, changed = found[at]
        before, after = ast.unparse(node), ast.unparse(changed)
        ast.copy_location(changed, node)
        _put(parent, field, index, changed)
        source = ast.unparse(ast.fix_missing_locations(tree))
        _put(parent, field, index, node)
        yield Mutant(path, scope, node.lineno, _short(before), _short(after), source)


def unchanged(root: Path, path: str) -> Mutant:
    """The module itself, written as mutants are."""
    return Mutant(path, "", 1, "", "", ast.unparse(ast.parse((root / path).read_text())))


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 90 else f"{line[:87]}…"


def _places(node: ast.AST, scope: str) -> Iterator[tuple[str, ast.AST, str, int | None, ast.stmt | ast.expr]]:
    """Where a node hangs that may be changed, whole statements before what is in them."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        scope = f"{scope}.{node.name}" if scope else node.name
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases", "type_params", "ctx", "slice_annotation"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _is_left_alone(child):
                continue
            if isinstance(child, ast.stmt | ast.expr):
                yield scope, node, field, index, child
            yield from _places(child, scope)


def _is_left_alone(node: ast.AST) -> bool:
    """Docstrings, imports, and what only the type checker sees."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Assert):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Assign | ast.If):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.test
        return isinstance(target, ast.Name) and target.id in ("TYPE_CHECKING", "__all__")
    return False


def _changes(node: ast.AST, is_ruleset: bool) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=[operator, *_]) if type(operator) in COMPARISONS:
            yield ast.Compare(node.left, [COMPARISONS[type(operator)](), *node.ops[1:]], node.comparators)
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.BinOp() if type(node.op) in OPERATORS and not _is_type_union(node):
            yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int()):
            yield ast.Constant(node.value + 1)
        case ast.Constant(value=str()) if is_ruleset:
            for word, other in RULE_WORDS.items():
                if word in node.value:
                    yield ast.Constant(node.value.replace(word, other))
        case ast.If() | ast.While() if not isinstance(node.test, ast.Compare | ast.UnaryOp | ast.BoolOp):
            yield type(node)(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.IfExp() if not isinstance(node.test, ast.Compare | ast.UnaryOp | ast.BoolOp):
            yield ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.List() if len(node.elts) > 1:
            yield ast.List(node.elts[1:], node.ctx)
            yield ast.List(node.elts[:-1], node.ctx)
        case ast.Return() if node.value and not _is_none(node.value):
            yield ast.Return(ast.Constant(None))
        case ast.Expr() | ast.AugAssign() | ast.Raise():
            yield ast.Pass()


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_type_union(node: ast.BinOp) -> bool:
    """``CreateTap | CreateBridge``: names that begin as those of classes do, and have no capitals alone."""
    sides = (node.left, node.right)
    return isinstance(node.op, ast.BitOr) and any(
        _is_none(side) or (isinstance(side, ast.Name) and side.id[:1].isupper() and not side.id.isupper())
        for side in sides
    )
