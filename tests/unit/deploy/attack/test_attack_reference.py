"""docs/attacks.md is made of the tables."""

from pathlib import Path

from roughfed.deploy.attack import ATTACKS
from roughfed.deploy.attack.reference import reference
from roughfed.server.metrics.updates import REASONS

PAGE = Path(__file__).resolve().parents[4] / "docs" / "attacks.md"


def test_the_page_is_what_the_tables_say() -> None:
    assert PAGE.read_text() == reference(), "python -m roughfed.deploy.attack.reference > docs/attacks.md"


def test_every_attack_has_a_row() -> None:
    rows = [line.split("`")[1] for line in reference().splitlines() if line.startswith("| `")]
    assert rows == [name for name in ATTACKS if name != "none"]


def test_reasons_of_refusals_are_counted() -> None:
    assert {a.poison.refused for a in ATTACKS.values() if a.poison is not None} - {""} <= set(REASONS)
