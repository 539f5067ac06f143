"""Imports a package's modules from their byte code, with a third of the system calls of importlib's path finder.

It also finds them by an open descriptor of the package's folder, which a user without access to its path can do.
"""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER
from marshal import loads
from posix import O_CLOEXEC, O_RDONLY, close, fstat, open, read, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from types import CodeType, ModuleType
else:
    Loader = object


class PackageImporter(Loader):
    """A finder and loader of `sys.meta_path` for the modules of one package. `folder` may be changed at any time."""

    def __init__(self, package: str, folder: str) -> None:
        self.package = package
        self.folder = folder
        self.compiles = False
        """Whether a module without current byte code is compiled here; otherwise importlib does, and caches it."""
        self._suffix = f".{sys.implementation.cache_tag}.pyc"

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """The module if it is of this package; None leaves it to the next finder."""
        package, _, rest = name.partition(".")
        if package != self.package or not rest or sys.flags.optimize:
            return None
        file = f"{self.folder}/{rest.replace('.', '/')}"
        code = self._code(file)
        if code is not None:
            return ModuleSpec(name, self, origin=f"{file}.py", loader_state=code)
        code = self._code(f"{file}/__init__")
        if code is None:
            return None
        spec = ModuleSpec(name, self, origin=f"{file}/__init__.py", loader_state=code, is_package=True)
        spec.submodule_search_locations = [file]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """The default is right."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        assert module.__spec__
        module.__file__ = module.__spec__.origin
        code, module.__spec__.loader_state = module.__spec__.loader_state, None
        exec(code, module.__dict__)

    def _code(self, file: str) -> CodeType | None:
        """The code of a module, its path given without a suffix; None when there is none, or no current one."""
        try:
            status = stat(f"{file}.py")
        except (FileNotFoundError, NotADirectoryError):  # the latter in a zip file
            return None
        folder, _, name = file.rpartition("/")
        try:
            cached = _content(f"{folder}/__pycache__/{name}{self._suffix}")
        except OSError:
            cached = b""
        # PEP 552: flags 0, modification time and size of the source
        times = int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF
        if cached[:16] == MAGIC_NUMBER + bytes(4) + b"".join([number.to_bytes(4, "little") for number in times]):
            code: CodeType = loads(memoryview(cached)[16:])
            return code
        return compile(_content(f"{file}.py"), f"{file}.py", "exec", dont_inherit=True) if self.compiles else None


def install(package: str, folder: str) -> PackageImporter:
    """Import the modules of this package from its folder from now on."""
    for finder in sys.meta_path:
        if isinstance(finder, PackageImporter) and finder.package == package:
            return finder
    importer = PackageImporter(package, folder)
    sys.meta_path.insert(0, importer)
    return importer


def _content(path: str) -> bytes:
    descriptor = open(path, O_RDONLY | O_CLOEXEC)
    try:
        return read(descriptor, fstat(descriptor).st_size)
    finally:
        close(descriptor)
