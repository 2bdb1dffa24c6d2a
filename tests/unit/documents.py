"""The fenced blocks and command lines of the documents, with what stands before them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
        *ROOT.glob("deploy/**/*.md"),
    ]
)

MARK = re.compile(r"<!-- (run|checked|not run): (.+?) -->")
"""`run`: the tests that do; `checked`: the tool that reads it; `not run`: why not."""
SPAN = re.compile(r"`((?:[A-Z_]+='?[^' `]*'? )*(?:roughfed|python -m tests\.bench) [^`]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        document: the file that it stands in.
        line: number of its first line of text.
        language: the word after the fence.
        text: what is in it.
        mark: kind of the comment on the line before it; empty without one.
        about: what that comment says.
    """

    document: Path
    line: int
    language: str
    text: str
    mark: str
    about: str

    @property
    def place(self) -> str:
        """For the name of a test."""
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """All fenced blocks of these languages; of every one if none is named."""
    return [b for document in DOCUMENTS for b in _blocks(document) if not languages or b.language in languages]


def _blocks(document: Path) -> Iterator[Block]:
    lines, at = document.read_text(encoding="utf-8").splitlines(), 0
    while at < len(lines):
        opening = re.match(r"( *)(```+)(\w*)", lines[at])
        if opening is None:
            at += 1
            continue
        end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == opening[2])
        before = next((line for line in reversed(lines[:at]) if line.strip()), "")
        mark = MARK.fullmatch(before.strip())
        text = "\n".join(line.removeprefix(opening[1]) for line in lines[at + 1 : end]) + "\n"
        kind, about = (mark[1], mark[2]) if mark else ("", "")
        yield Block(document, at + 2, opening[3], text, kind, about)
        at = end + 1


def commands(block: Block) -> list[str]:
    """The command lines of a shell block: continued lines joined, comments and here-documents left out."""
    joined = re.sub(r"<<-?\s*'?(\w+)'?\n.*?\n\1\n", "\n", block.text.replace("\\\n", " "), flags=re.DOTALL)
    stripped = (re.sub(r"(^|\s)#(?![-\w]*').*$", "", line).strip() for line in joined.splitlines())
    return [part.strip() for line in stripped for part in re.split(r"\s(?:&&|\|)\s", line) if part.strip()]


def spans() -> list[tuple[str, str]]:
    """(place, command line) of every `roughfed ...` and `python -m tests.bench ...` that stands in running text."""
    found: list[tuple[str, str]] = []
    for document in DOCUMENTS:
        text = re.sub(r"```.*?```", lambda m: "\n" * m[0].count("\n"), document.read_text(), flags=re.DOTALL)
        for match in SPAN.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append((f"{document.relative_to(ROOT)}:{line}", " ".join(match[1].split())))
    return found
