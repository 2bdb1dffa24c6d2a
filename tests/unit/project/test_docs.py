"""The documents name things that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CODE = re.compile(r"`([^`\s]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")
ROOTS = ("shared/", "server/", "client/", "deploy/", "proto/", "tests/", "docs/")
DOCUMENTS = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_in_a_document_exists(document: Path) -> None:
    text = document.read_text()
    named = {word for word in CODE.findall(text) if word.startswith(ROOTS) and "*" not in word and "{" not in word}
    missing = [path for path in sorted(named) if not (ROOT / path).exists()]
    linked = [path for path in LINK.findall(text) if not (document.parent / path).exists()]

    assert missing == []
    assert linked == []


def test_the_architecture_names_the_paths_it_is_about() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    named = {word for word in CODE.findall(text) if word.startswith(ROOTS)}

    assert len(named) > 30, "this test reads the wrong document"


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("*.md"))

    assert numbers == list(range(1, len(numbers) + 1))
