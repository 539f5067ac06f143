"""The project's pages as tests read them: code blocks, code spans, links and headings of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SHELL = ("sh", "console", "shell", "bash")
PROGRAMS = ("make", "virt-launcher", "python", "python3", "pytest", "pip", "ip", "nft", "apt-get", "docker", "podman")
"""What a code span begins with that is a command, not a name; paths below `.venv/bin` are, too."""

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block; `language` is empty for diagrams."""

    language: str
    body: str


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def prose(self) -> str:
        """All but the code blocks."""
        return _FENCE.sub("", self.text)

    def blocks(self) -> list[Block]:
        return [Block(match["language"], match["body"]) for match in _FENCE.finditer(self.text)]

    def spans(self) -> list[str]:
        """Code in running text and in tables."""
        return _SPAN.findall(self.prose)

    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    def anchors(self) -> set[str]:
        """What a link to a part of this page may end with: its headings, as GitHub spells them."""
        headings = _HEADING.findall(self.prose)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def commands(self) -> Iterator[str]:
        """Every shell command: the lines of shell blocks, and code spans that are a program with arguments."""
        for block in self.blocks():
            if block.language in SHELL:
                lines = block.body.replace("\\\n", " ").splitlines()
                yield from (line for line in lines if line.strip() and not line.startswith("#"))
        for span in self.spans():
            program, *arguments = span.split()
            if arguments and (program in PROGRAMS or program.startswith(".venv/bin/")):
                yield span


def pages() -> list[Page]:
    """README, CONTRIBUTING, and everything in docs."""
    return [Page(path) for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")))]
