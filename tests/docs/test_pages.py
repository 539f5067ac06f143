"""What the pages say of the source: links, names that can be imported, rooms that exist."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Iterator

import pytest

from .pages import ROOT, Page, pages

PACKAGES = ("dhcp", "launcher", "netsetup")

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
    found = pkgutil.resolve_name(dotted)
    if call and "=" not in arguments and '"' in arguments:
        return  # a call with a value, not a signature
    named = {word.partition("=")[0].strip() for word in arguments.rstrip(")").split(",") if word.strip()}
    assert not named or named <= set(inspect.signature(found).parameters), page


def rooms() -> Iterator[str]:
    """The modules of the architecture's map, as `folder/module.py`: a folder stands before the first of its modules."""
    (diagram,) = (block.body for block in ARCHITECTURE.blocks() if "dhcp/wire/" in block.body)
    folder = ""
    for line in diagram.splitlines():
        match = re.match(r"(?:(?P<folder>[\w/]+)/)? *(?P<names>\w+(?:, \w+)*)  ", line)
        assert match, line
        folder = match["folder"] or folder
        yield from (f"{folder}/{name}.py" for name in match["names"].split(", "))


def test_the_map_is_complete() -> None:
    listed = sorted(rooms())
    present = sorted(
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.stem not in {"__init__", "__main__"}
    )
    assert listed == present


def test_folders_can_be_searched_by_eye() -> None:
    """At most a dozen files in each."""
    for package in PACKAGES:
        for folder in {path.parent for path in (ROOT / package).rglob("*.py")}:
            assert len([path for path in folder.glob("*.py") if path.stem != "__init__"]) <= 12, folder


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
