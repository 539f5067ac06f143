"""The start of a server that has a bundle: makes modules of the byte code that `dhcp.bundle` has put into one file."""

import gc
import sys
from _frozen_importlib import ModuleSpec
from _imp import create_builtin, create_dynamic, exec_builtin, exec_dynamic
from marshal import loads
from posix import O_CLOEXEC, O_RDONLY, RTLD_LAZY, open, pread, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType, ModuleType
else:
    ModuleType = type(sys)  # without the rest of types


class Later:
    """A finder and loader (importlib.abc) of what is imported when it is first needed, from a file that stays open.

    The server is nobody then, who may not be able to open it. `places` are offsets and sizes, counted from `start`.
    """

    def __init__(self, file: int, start: int, places: dict[str, tuple[int, int]]) -> None:
        self._file = file
        self._start = start
        self._places = places

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in self._places else None  # type: ignore[arg-type]  # no subclass

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: "ModuleType") -> None:
        offset, size = self._places[module.__name__]
        exec(loads(pread(self._file, size, self._start + offset)), module.__dict__)


def load_extensions(files: "Iterable[tuple[str, str]]") -> None:
    """Import modules in C from the files where they are, or from the interpreter itself where that has them built in.

    To look for one takes longer than to load it.
    """
    sys.setdlopenflags(RTLD_LAZY)
    for name, file in files:
        spec = ModuleSpec(name, None, origin=file)
        try:
            module = create_dynamic(spec) if file else create_builtin(spec)
        except ImportError:
            continue  # the file has gone; whoever imports the module will look for it
        (exec_dynamic if file else exec_builtin)(module)
        sys.modules[name] = module


def make_module(name: str, code: "CodeType") -> None:
    """Import a module, which finds in `sys.modules` what it imports itself."""
    module = sys.modules[name] = ModuleType(name)
    package, _, last = name.rpartition(".")
    if package:
        module.__package__ = package
        setattr(sys.modules[package], last, module)
    elif name == "dhcp":
        module.__path__ = [__file__.rpartition("/__pycache__/")[0]]
    exec(code, module.__dict__)


gc.disable()  # nothing of what is made here is garbage
bundle = open(__file__.removesuffix("start") + "modules", O_RDONLY | O_CLOEXEC)
octets_of_index = int.from_bytes(read(bundle, 4), "big")
extensions, modules, later = loads(read(bundle, octets_of_index))
load_extensions(extensions)
for name, size in modules:  # one by one: memory that is used again is there already
    make_module(name, loads(read(bundle, size)))
sys.modules["dhcp"].MODULES_FILE = bundle  # type: ignore[attr-defined]
sys.meta_path.insert(0, Later(bundle, 4 + octets_of_index, later))
gc.freeze()
gc.enable()

from dhcp.commandline import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
