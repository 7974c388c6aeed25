"""The documents as tests read them: their pages, and the blocks of code in a page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^# ([\w./-]+\.\w+)$")


@dataclass(frozen=True)
class Block:
    """Code in a page: its language, its text, and the line on which it begins."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that its first line says it is: `# study.yaml`; None where it says nothing."""
        match = _FILE.match(self.text.partition("\n")[0])
        return match[1] if match else None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(language: str, *pages: Path) -> list[Block]:
    """The blocks of a language in some pages (in all, where none is named)."""
    return [
        block for page in pages or PAGES for block in _blocks(page) if block.language == language
    ]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        yield Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2])


def commands(block: Block) -> list[tuple[str, int]]:
    """The command lines that begin with `emergectl` in a block of sh, with their lines."""
    lines = enumerate(block.text.splitlines(), block.line + 1)
    return [
        (shlex.join(shlex.split(line, comments=True)), number)
        for number, line in lines
        if line.startswith("emergectl ")
    ]
