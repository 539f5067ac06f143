"""The server's own importer: current byte code, else importlib's way, and without a path to the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dhcp.lean import importer

PROGRAM = """
import sys
sys.path.append(sys.argv[1])
import p
from {importer} import PackageImporter
finder = PackageImporter("p", p.__path__[0])
sys.meta_path.insert(0, finder)
{before}
import p.a, p.q.b
print(p.a.VALUE, p.q.b.VALUE, type(p.a.__spec__.loader).__name__, p.q.__path__)
assert p.a.__file__ == p.__path__[0] + "/a.py" or "/proc/self" in p.a.__file__
try: import p.missing
except ModuleNotFoundError as error: print(error.name)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "p/q").mkdir(parents=True)
    for name, text in (("__init__", ""), ("a", "VALUE = 'first'"), ("q/__init__", ""), ("q/b", "VALUE = 2")):
        (tmp_path / f"p/{name}.py").write_text(text)
    subprocess.run([sys.executable, "-m", "compileall", "-q", tmp_path], check=True)
    return tmp_path


def imported(package: Path, *options: str, before: str = "") -> list[str]:
    root = importer.__file__.rpartition("/dhcp/")[0]
    program = f"import sys; sys.path.append({root!r})" + PROGRAM.format(importer=importer.__name__, before=before)
    command = [sys.executable, "-I", "-S", *options, "-c", program, package]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_modules_come_from_their_byte_code(package: Path) -> None:
    source = package / "p/a.py"
    times = source.stat()
    source.write_text("VALUE = 'other'")  # of the same size and time: taken for what was compiled
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert imported(package) == [f"first 2 PackageImporter ['{package}/p/q']", "p.missing"]


def test_changed_and_uncompiled_modules_are_compiled_and_cached_by_importlib(package: Path) -> None:
    source = package / "p/a.py"
    source.write_text("VALUE = 'second'")
    for cached in (package / "p/q/__pycache__").iterdir():
        cached.unlink()
    assert imported(package)[0] == f"second 2 SourceFileLoader ['{package}/p/q']"
    assert imported(package)[0] == f"second 2 PackageImporter ['{package}/p/q']"


def test_optimised_python_has_byte_code_of_its_own(package: Path) -> None:
    assert imported(package, "-O")[0] == f"first 2 SourceFileLoader ['{package}/p/q']"


def test_a_folder_that_is_reached_by_a_descriptor_alone(package: Path) -> None:
    """Also a module without current byte code, which is compiled each time."""
    (package / "p/a.py").write_text("VALUE = 'second'")
    before = (
        "import os; fd = os.open(p.__path__[0], os.O_RDONLY); os.rename(p.__path__[0], sys.argv[1] + '/moved')\n"
        "finder.folder, finder.compiles = f'/proc/self/fd/{fd}', True"
    )
    assert imported(package, before=before)[0].startswith("second 2 PackageImporter ['/proc/self/fd/")
