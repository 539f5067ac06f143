"""Packages whose ``__init__`` imports far more than is wanted of them, and modules that are seldom wanted at all."""

import importlib
import importlib.util
import sys
from typing import Any


def make_lazy(package_name: str, **names: object) -> None:
    """Let submodules of a package load without its ``__init__``; or have a module loaded when it is used.

    The first use of a name of the package itself (``pyroute2.IPRoute``) runs it, so other users in this process notice
    nothing. Only these `names` are there before. A package that is loaded already stays as it is. Raises
    ModuleNotFoundError.
    """
    if package_name in sys.modules:
        return
    spec = importlib.util.find_spec(package_name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{package_name} is not installed", name=package_name)
    loader = spec.loader
    package = importlib.util.module_from_spec(spec)

    def load_name(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if hasattr(package, "__path__") and importlib.util.find_spec(f"{package_name}.{name}"):
            return importlib.import_module(f"{package_name}.{name}")
        del package.__dict__["__getattr__"]
        kept = dict(package.__dict__)  # what is there already may be in use, or was set by somebody
        loader.exec_module(package)
        package.__dict__.update(kept)
        return getattr(package, name)

    package.__dict__.update(names, __getattr__=load_name)
    sys.modules[package_name] = package
