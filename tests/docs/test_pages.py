"""What the pages say of the source: links, names that can be imported, rooms that exist."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator

import pytest

from .pages import ROOT, Page, pages

PACKAGES = ("dhcp", "launcher", "netsetup")
SMALL = 100
"""Lines; a module below that need not have its name in the architecture."""

ARCHITECTURE = Page(ROOT / "docs/architecture.md")
NAMES = sorted(
    {
        (page.name, span)
        for page in pages()
        for span in page.spans()
        if re.match(rf"({'|'.join(PACKAGES)})\.[a-z]\w*\.\w", span)
    }
)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Page) -> None:
    broken = []
    for link in page.links():
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        if not target.exists() or (anchor and anchor not in Page(target).anchors()):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_blocks_say_what_they_are(page: Page) -> None:
    """A block without a language is a diagram; a command in it would be run by nobody."""
    assert {block.language for block in page.blocks()} <= {"", "sh", "python", "yaml", "json"}
    plain = "\n".join(block.body for block in page.blocks() if not block.language)
    assert not re.search(r"^\s*(\$ |(make|virt-launcher|python3?|ip) [a-z-])", plain, re.MULTILINE)


@pytest.mark.parametrize(("page", "span"), NAMES)
def test_names_can_be_imported(page: str, span: str) -> None:
    """`package.module.name(arguments)`: there is such a name, and it takes arguments of these names."""
    dotted, call, arguments = span.partition("(")
    package, module, *attributes = dotted.split(".")
    found = importlib.import_module(f"{package}.{module}")
    for attribute in attributes:
        found = getattr(found, attribute)
    if call and "=" not in arguments and '"' in arguments:
        return  # a call with a value, not a signature
    named = {word.partition("=")[0].strip() for word in arguments.rstrip(")").split(",") if word.strip()}
    assert not named or named <= set(inspect.signature(found).parameters), page


def rooms() -> Iterator[str]:
    """The modules of the architecture's diagram, as `package/module.py`.

    It has two columns; in each, a package's folder stands before the first of its modules, and two spaces after a
    line's modules.
    """
    (diagram,) = (block.body for block in ARCHITECTURE.blocks() if "launcher/" in block.body)
    boundary = diagram.splitlines()[0].index("netsetup/")
    package = ["", ""]
    for line in diagram.splitlines():
        for column, cell in enumerate((line[:boundary], line[boundary:])):
            match = re.match(r"(?:(?P<folder>\w+)/)? +(?P<names>\w+(?:, \w+)*)  ", cell)
            if match:
                package[column] = match["folder"] or package[column]
                yield from (f"{package[column]}/{name}.py" for name in match["names"].split(", "))


def test_rooms_exist() -> None:
    listed = list(rooms())
    assert len(listed) > 20
    assert [room for room in listed if not (ROOT / room).exists()] == []
    assert len(set(listed)) == len(listed)


def test_rooms_are_complete() -> None:
    missing = {
        f"{package}/{path.name}"
        for package in PACKAGES
        for path in (ROOT / package).glob("*.py")
        if len(path.read_text().splitlines()) >= SMALL
    } - set(rooms())
    assert missing == set(), "name them in docs/architecture.md"


def test_make_has_every_target_that_is_named() -> None:
    """In messages, comments and pages alike."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    folders = (*PACKAGES, "bench", "docs", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".sh")]
    files += [path for path in ROOT.glob("*") if path.suffix in (".md", ".cfg", ".toml")]
    named = {
        (str(path.relative_to(ROOT)), target)
        for path in files
        for target in re.findall(r"`make ([a-z-]+)`", path.read_text())
    }
    assert {(path, target) for path, target in named if target not in targets} == set()
