"""`python -m dhcp.bundle`: the byte code of the server's modules in one file, which starts it in half the time.

To find forty modules and to read them takes as long as to start Python. The file lies beside their own byte code, and
so does the little that the interpreter runs to start from it, `dhcp.unbundle`. Both count only as long as the sources
are those they were made of. Whoever installs the package makes them once; a server without them imports its modules
one by one.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib_external import MAGIC_NUMBER
from _imp import source_hash
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from types import CodeType

# What is imported when a configuration or a guest first asks for it. The server is nobody then, who may not be able to
# read it.
_LATER = (
    "dhcp.advertiser",
    "dhcp.arp",
    "dhcp.bpf6",
    "dhcp.config6",
    "dhcp.conversation",
    "dhcp.fqdn",
    "dhcp.ipv6",
    "dhcp.optionvalues",
    "dhcp.overload",
    "dhcp.port6",
    "dhcp.router",
    "dhcp.trial",
    "dhcp.uplink",
)
# The standard library's in Python, as far as they are not frozen.
_STANDARD = ("struct",)
# Those in C, each of which is built into some interpreters and a file beside others.
_EXTENSIONS = ("_ctypes", "_json", "_socket", "_struct", "select")
_EXTENSIONS_LATER = ("_random", "_stat", "errno", "fcntl")
_FOLDER = os.path.dirname(os.path.abspath(__file__))
_START, _MODULES = (
    f"{_FOLDER}/__pycache__/server.{sys.implementation.cache_tag}.{kind}" for kind in ("start", "modules")
)


def find_bundle() -> str | None:
    """What starts a server from the bundle, or None where there is none of these sources and for this interpreter."""
    try:
        with open(_START, "rb") as file:
            return _START if file.read(16) == _head() else None
    except OSError:
        return None


def import_all() -> None:
    """Import every module that a server may need, as far as the interpreter has it."""
    for name in ("dhcp.commandline", *_LATER):
        import_module(name)
    for name in (*_EXTENSIONS, *_EXTENSIONS_LATER):
        try:
            import_module(name)
        except ImportError:
            continue  # what needs it does without it, see `dhcp.jsontext`


def make_bundle() -> str:
    """Write the bundle; returns the path of what starts a server from it. Raises OSError."""
    from marshal import dumps

    import_module("dhcp.commandline")
    # in the order in which their imports were complete, so that each finds the others
    first = [name for name in sys.modules if name.partition(".")[0] == "dhcp" and name != __name__]
    import_all()
    later = [name for name in sys.modules if name.startswith("dhcp.") and name not in (*first, __name__)]
    modules, places, codes = [], {}, b""
    for name in (*_STANDARD, *first, *later):
        code = dumps(_code(_source(name)))
        if name in later:
            places[name] = (len(codes), len(code))
        else:
            modules.append((name, len(code)))
        codes += code
    present = [name for name in (*_EXTENSIONS, *_EXTENSIONS_LATER) if name in sys.modules]
    located = [(name, getattr(sys.modules[name], "__file__", "")) for name in present]
    files = [(name, file) for name, file in located if file or name in _EXTENSIONS]
    index = dumps((files, modules, places))
    os.makedirs(os.path.dirname(_MODULES), exist_ok=True)
    _replace(_MODULES, len(index).to_bytes(4, "big") + index + codes)
    _replace(_START, _head() + dumps(_code(f"{_FOLDER}/unbundle.py")))
    return _START


def _replace(path: str, content: bytes) -> None:
    unfinished = f"{path}.{os.getpid()}"
    try:
        with open(unfinished, "wb") as file:
            file.write(content)
        os.replace(unfinished, path)
    except OSError:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
        raise


def _head() -> bytes:
    """The 16 octets before byte code with a hash (PEP 552), here of all that the bundle depends on. Raises OSError.

    That is the interpreter, the sources, whose times count in whole seconds, as an image's layers keep them, and
    whether the modules are all there.
    """
    with os.scandir(_FOLDER) as entries:
        sources = [(entry.name, entry.stat()) for entry in entries if entry.name.endswith(".py")]
    stamps = sorted((name, int(status.st_mtime), status.st_size) for name, status in sources)
    unchecked_hash = (0b01).to_bytes(4, "little")
    state = f"{sys.version} {stamps} {os.stat(_MODULES).st_size}"
    return MAGIC_NUMBER + unchecked_hash + source_hash(0, state.encode())


def _source(name: str) -> str:
    path = sys.modules[name].__file__
    assert path
    return path


def _code(path: str) -> CodeType:
    """A source compiled without what only readers, type checkers and pointers to columns in tracebacks need."""
    import __future__

    import ast

    class Lean(ast.NodeTransformer):
        def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
            return None if node.module == "__future__" else node

        def visit_If(self, node: ast.If) -> ast.If | list[ast.stmt]:
            return node.orelse if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node

        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
            node.returns = None
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg):
                    argument.annotation = None
            return node

    with open(path, "rb") as file:
        tree: ast.Module = Lean().visit(ast.parse(file.read()))
    for node in ast.walk(tree):
        if isinstance(node, (ast.stmt, ast.expr)):
            node.end_lineno, node.col_offset, node.end_col_offset = node.lineno, -1, -1
    code: CodeType = compile(tree, path, "exec", __future__.annotations.compiler_flag, dont_inherit=True, optimize=2)
    return code


if __name__ == "__main__":
    print(make_bundle())
