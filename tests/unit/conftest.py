"""What holds for every unit test: no database stays open."""

from collections.abc import Generator
from typing import Any

import pytest

from roughfed.journal import Journal


@pytest.fixture(autouse=True)
def journals_closed(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Close journals that a test leaves open: from Python 3.13 on each is a warning, and warnings are errors."""
    opened: list[Journal] = []
    made = Journal.__init__

    def recorded(self: Journal, *arguments: Any, **more: Any) -> None:
        made(self, *arguments, **more)
        opened.append(self)

    monkeypatch.setattr(Journal, "__init__", recorded)
    yield
    for journal in opened:
        journal.close()  # in its own way: closed under a thread that reads, SQLite crashes; twice does no harm
