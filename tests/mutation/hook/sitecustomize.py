"""Gives a Python process a mutant in place of a module: MUTANT is ``netsetup.plan=/path/of/its/source.py``.

Python imports this module when it starts, if PYTHONPATH has its folder.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType


class MutantFinder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds one module, with the source of a mutant of it."""

    def __init__(self, module: str, source: str) -> None:
        self._module, self._source = module, source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        origin = f"{Path(__file__).resolve().parents[3] / fullname.replace('.', '/')}.py"
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=origin)
        spec.has_location = True
        return spec

    def get_source(self, fullname: str) -> str:
        return Path(self._source).read_text()


def install() -> None:
    if mutant := os.environ.get("MUTANT"):
        sys.meta_path.insert(0, MutantFinder(*mutant.split("=", 1)))


install()
