"""`python -m dhcp --interface IFACE --config FILE`: the server alone. See `dhcp.commandline`.

`dhcp.process` runs this by its path, isolated from everything but the standard library. Where there is a bundle the
modules come out of that one file: to look for forty and to read them takes as long as to start Python.
"""

import gc
import sys
from _frozen_importlib import ModuleSpec
from marshal import loads
from posix import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

FOLDER = __file__.rpartition("/")[0].removesuffix("/__pycache__")


class Later:
    """A finder and loader (importlib.abc) of modules whose byte code is kept in memory until it is needed."""

    def __init__(self, codes: dict[str, bytes]) -> None:
        self._codes = codes

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in self._codes else None  # type: ignore[arg-type]  # no subclass

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: "ModuleType") -> None:
        exec(loads(self._codes.pop(module.__name__)), module.__dict__)


def import_bundle() -> bool:
    """Whether there is a bundle, and it is of these sources: then its modules are there now."""
    try:
        with open(f"{FOLDER}/__pycache__/server.{sys.implementation.cache_tag}.bundle", "rb") as file:
            version, sources, modules, later = loads(file.read())
        for name, *stamp in sources:
            status = stat(f"{FOLDER}/{name}")
            if stamp != [int(status.st_mtime), status.st_size]:  # an image's layers keep whole seconds
                return False
    except (OSError, ValueError, EOFError, TypeError):
        return False
    if version != sys.version:
        return False
    kind = type(sys)
    for name, code in modules:
        module = sys.modules[name] = kind(name)
        package, _, last = name.rpartition(".")
        if package:
            module.__package__ = package
            setattr(sys.modules[package], last, module)
        elif name == "dhcp":
            module.__path__ = [FOLDER]
        exec(code, module.__dict__)
    sys.meta_path.insert(0, Later(later))
    return True


gc.disable()  # nothing of what is made here is garbage
if not import_bundle():
    sys.path.append(FOLDER.rpartition("/")[0] or "/")
    from dhcp.bundle import import_all

    import_all()
gc.freeze()
gc.enable()

from dhcp.commandline import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
