"""docs/defences.md: its table is fresh; each cell is what the check before a run, and the rule itself, really do."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from roughfed.config import SettingsRefused, check_federation
from roughfed.secagg.groups import group_sizes
from roughfed.server.defence import PREVIOUS, ROOT, RULES, Situation, view_of_arrays, view_of_claims
from roughfed.server.defence.check import check_rule
from roughfed.server.defence.documentation import MODES, page, settings
from roughfed.server.defence.plan import ROWS, rows_needed
from roughfed.server.defence.verdict import Coefficients, Coordinatewise

HERE = Path(__file__).resolve().parents[4]
PAGE = (HERE / "docs" / "defences.md").read_text(encoding="utf-8")
LINES = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
CELLS = {row[0].strip("`"): row for row in LINES if row[0].strip("`") in RULES}
PAIRS = [(name, mode) for name in RULES for mode in MODES]
GIVEN = {"choice": type(None), "weights": Coefficients, "coordinates": Coordinatewise}


def test_the_table_is_fresh() -> None:
    assert page(PAGE) == PAGE, "run: python -m roughfed.server.defence.documentation docs/defences.md"
    assert CELLS.keys() == RULES.keys()


@pytest.mark.parametrize(("name", "mode"), PAIRS)
def test_a_cell_says_what_the_check_does(name: str, mode: str) -> None:
    cell, config = CELLS[name][2 + MODES.index(mode)], settings(name, mode)
    check_federation(config)
    if cell.startswith("refused"):
        with pytest.raises(SettingsRefused):
            check_rule(config)
        assert re.search(rf"^{cell[9:-1]}\. The rule .*`privacy.server_sees` = \"{mode}\"", PAGE, re.MULTILINE)
        return
    check_rule(config)
    if mode == "sums" and name != "none":
        least = int(re.findall(r"from (\d+) clients", cell)[0])
        assert len(group_sizes(least)) >= rows_needed(RULES[name], 1) > len(group_sizes(least - 1))


@pytest.mark.parametrize(("name", "mode"), PAIRS)
def test_a_cell_says_what_the_rule_gives(name: str, mode: str) -> None:
    """Also where it is refused: there the rule has no such rows to judge."""
    cell, rule = CELLS[name][2 + MODES.index(mode)], RULES[name]
    works = ROWS[mode] in rule.sees and not (mode == "sums" and rule.remembers)
    assert works is not cell.startswith("refused")
    if not works:
        return
    rng = np.random.default_rng(1)
    rows = {f"r{at}": rng.normal(1, 0.3, 40).astype(np.float32) for at in range(max(9, rows_needed(rule, 1)))}
    own = {
        extra: rng.normal(1, 0.3, 40).astype(np.float32)
        for extra in (ROOT, PREVIOUS)
        if extra in rule.needs | rule.wants
    }
    if mode == "sketches":
        wide = [{key: row.astype(np.float64) for key, row in of.items()} for of in (rows, own)]
        view = view_of_claims(wide[0], length=40, norm_unit=1.0, extras=wide[1])
    else:
        view = view_of_arrays(rows, kind=ROWS[mode], extras=own)
    how = rule.judge(view, Situation(1)).combine
    assert type(how) is GIVEN[cell.partition(",")[0]]


@pytest.mark.parametrize("name", [name for name in RULES if name != "none"])
def test_the_formula_of_the_fewest_rows_holds_for_every_f(name: str) -> None:
    match = re.fullmatch(r"(\d+) f(?: \+ (\d+))?", CELLS[name][5])
    assert match is not None
    for f in range(1, 60):
        assert rows_needed(RULES[name], f) == int(match[1]) * f + int(match[2] or 0)


def test_the_example_on_the_page_is_the_one_that_works() -> None:
    (block,) = (code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "def judge" in code)
    assert block.strip() in (HERE / "deploy" / "examples" / "own_defence" / "medoid_defence.py").read_text()


def test_reasons_on_the_page_are_those_of_the_code() -> None:
    section = PAGE.partition("## Before any rule")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    reasons = {word for line in lines for word in re.findall(r"`([a-z-]+)`", line.split("|")[2])}
    code = "".join((HERE / "server" / name).read_text() for name in ("uploads/admission.py", "uploads/intake.py"))
    code += (HERE / "shared" / "errors.py").read_text() + (HERE / "shared" / "crypto" / "identity.py").read_text()
    assert len(reasons) >= 14
    assert not {reason for reason in reasons if f'"{reason}"' not in code}
