"""What a defence and the other settings cannot do together, and that every way out was tried."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roughfed.config import FederationConfig, SettingsRefused, check_federation
from roughfed.errors import TooFewClients
from roughfed.secagg.groups import group_sizes
from roughfed.server.defence import ROOT, RULES, Rule, Situation, Verdict, view_of_arrays
from roughfed.server.defence.check import check_rule, defence_problems
from roughfed.server.defence.memory import ConfiguredRule
from roughfed.server.defence.plan import tolerated
from roughfed.server.storage.store import Store

MODES = ("updates", "sketches", "sums")
OTHERS = [name for name in RULES if name != "none"]


def config(**tables: dict[str, Any]) -> FederationConfig:
    """A federation that can run, with some tables replaced."""
    return FederationConfig.model_validate({"model": {"name": "mlp"}, "data": {"name": "digits"}, **tables})


def of(rule: str, sees: str = "updates", *, f: float | None = None, **tables: dict[str, Any]) -> FederationConfig:
    defence = {"rule": rule} | ({} if f is None else {"f": f})
    return config(privacy={"server_sees": sees}, **{"defence": defence} | tables)


def refused(settings: FederationConfig) -> SettingsRefused:
    with pytest.raises(SettingsRefused) as caught:
        check_rule(settings)
    return caught.value


STEP = re.compile(r'write (\w+) = ("[^"]*"|[\d.]+|true|false) in \[(\w+)\]|remove (\w+)\.(\w+)', re.IGNORECASE)


def ways_out(settings: FederationConfig, cure: str) -> Iterator[FederationConfig]:
    """The settings after each of the ways that a cure offers, loaded anew."""
    for way in cure.removesuffix(".").split(", or "):
        tables = settings.model_dump(exclude_unset=True)
        steps = STEP.findall(way)
        assert len(STEP.sub("", way).replace(" and ", "").strip()) == 0, f"{way!r} is not only steps"
        for name, value, table, from_table, removed in steps:
            if removed:
                tables[from_table].pop(removed)
            else:
                tables.setdefault(table, {})[name] = json.loads(value)
        yield FederationConfig.model_validate(tables)


def holds(settings: FederationConfig) -> None:
    """What is refused names two options, and every way out works; nothing takes long."""
    began = time.perf_counter()
    problems = list(defence_problems(settings))
    assert time.perf_counter() - began < 2.0  # below 0.2 s on a machine that does nothing else
    for problem in problems:
        said = f"{problem.cause} {problem.cure}"
        assert len(set(re.findall(r"\b[a-z]+\.[a-z_]+\b", problem.cause))) >= 2, said
        ways = list(ways_out(settings, problem.cure))
        assert ways, said
        for way in ways:
            check_federation(way)
            check_rule(way)


SETTINGS: tuple[dict[str, dict[str, Any]], ...] = (
    {},
    {"defence": {"f": 1}},
    {"defence": {"f": 0.0}, "round": {"cohort": 4}},
    {"defence": {"f": 3}, "round": {"cohort": 0.5, "min_clients": 30}},
    {"codec": {"name": "top-k"}, "trainer": {"self_weight": True}},
)


@pytest.mark.parametrize("sees", MODES)
@pytest.mark.parametrize("rule", RULES)
def test_whatever_is_refused_has_a_way_out(rule: str, sees: str) -> None:
    for tables in SETTINGS:
        if (rule == "none" and "defence" in tables) or (sees != "updates" and "codec" in tables):
            continue  # for `check_federation` to refuse
        holds(of(rule, sees, **{**tables, "defence": {"rule": rule, **tables.get("defence", {})}}))


GROUPS = {n: len(group_sizes(n)) for n in range(4, 400)}


@pytest.mark.parametrize("sees", MODES)
@pytest.mark.parametrize("rule", OTHERS)
def test_a_run_that_starts_has_enough_rows_whoever_is_connected(rule: str, sees: str) -> None:
    """The other way round: what is not refused for its numbers works with every number of clients; law by hand."""
    row = RULES[rule]
    if {"sums": "groups"}.get(sees, sees) not in row.sees or (sees == "sums" and row.remembers):
        return
    for f, least in ((0.2, 4), (0.2, 16), (0.4, 16), (1, 5), (1, 66), (4, 11), (4, 100)):
        numbers = [p for p in defence_problems(of(rule, sees, f=f, round={"min_clients": least})) if STARTS in p.cause]
        rows = {n: GROUPS[n] if sees == "sums" else n for n in range(least, 400)}
        void = [n for n, have in rows.items() if have < max(row.min_rows(tolerated(f, n)), 2 * tolerated(f, n) + 1)]
        assert bool(numbers) == bool(void), (f, least, void[:3])


STARTS = "would start, and fail"


def refuse_all(*_: object) -> Verdict:
    raise AssertionError


def stub(**fields: Any) -> Rule:
    return Rule(
        **{"about": "", "sees": ("updates", "groups"), "min_rows": lambda f: 2 * f + 1, "judge": refuse_all} | fields
    )


REFUSED = {
    "coordinates of sketches": (
        stub(sees=("updates",)), "sketches", {},
        ("a few numbers of each update and not its coordinates", 'server_sees = "updates"'),
    ),
    "single clients of sums": (
        stub(sees=("updates", "sketches")), "sums", {},
        ("means of groups and nothing of a single client", 'server_sees = "sketches"'),
    ),
    "groups do not keep their names": (
        stub(sees=("updates", "groups"), remembers=True), "sums", {},
        ("rows are groups, which are dealt anew", 'server_sees = "updates"'),
    ),
    "what is not said is no vote": (
        stub(gives="coordinates"), "updates", {"codec": {"name": "top-k"}},
        ('codec.name = "top-k" sends few of them', 'name = "int8" in [codec]'),
    ),
    "weights of its own": (
        stub(gives="weights"), "updates", {"aggregate": {"weighting": "examples"}},
        ('aggregate.weighting = "examples" has no effect', 'weighting = "auto" in [aggregate]'),
    ),
    "coordinates have no weights": (
        stub(gives="coordinates"), "updates", {"trainer": {"self_weight": True}},
        ("trainer.self_weight = true has no effect", "self_weight = false in [trainer]"),
    ),
    "no examples": (
        stub(needs=frozenset({ROOT})), "updates", {},
        ("defence.root = 0 gives none", "root = 100 in [defence]"),
    ),
    "examples for nobody": (
        stub(), "updates", {"defence": {"root": 50}},
        ("defence.root = 50 has no effect", "Remove defence.root"),
    ),
    "examples without a whole model": (
        stub(wants=frozenset({ROOT})), "updates",
        {"defence": {"root": 50}, "model": {"name": "mlp", "private": ["*bn*"]}},
        ("model.private keeps parts", "Remove defence.root"),
    ),
    "no mean for scaffold": (
        stub(gives="coordinates"), "sums", {"trainer": {"method": "scaffold"}},
        ("scaffold in trainer.method needs the mean", "write rule = "),
    ),
    "nobody is hostile": (
        stub(), "updates", {"defence": {"f": 0.0}},
        ("defence.f = 0.0 expects no attacker", "Remove defence.f"),
    ),
    "less than one": (
        stub(), "updates", {"defence": {"f": 0.1}, "round": {"cohort": 9}},
        ("defence.f = 0.1 of round.cohort = 9 clients is less than one", "write"),
    ),
    "bulyan's four": (
        stub(min_rows=lambda f: 4 * f + 3), "updates", {"defence": {"f": 2}, "round": {"min_clients": 10}},
        ("needs 11 clients to hold against 2 attackers", "min_clients = 11 in [round]"),
    ),
    "half of the clients": (
        stub(min_rows=lambda f: 1), "updates", {"defence": {"f": 3}, "round": {"min_clients": 6}},
        ("needs 7 clients to hold against 3 attackers", "min_clients = 7 in [round]"),
    ),
    "half of a cohort": (
        stub(), "updates", {"defence": {"f": 3}, "round": {"min_clients": 9, "cohort": 6}},
        ("with round.cohort = 6 rounds of 6 clients", "cohort = 7 in [round]"),
    ),
    "a single group": (
        stub(), "sums", {"defence": {"f": 1}, "round": {"min_clients": 20}},
        ("rounds of 20 clients would start, and fail: they have 1", "min_clients = 21 in [round]"),
    ),
    "half of the groups": (
        stub(), "sums", {"defence": {"f": 2}, "round": {"min_clients": 30}},
        ("2 attackers (defence.f = 2), each of whom may be in any of them", "min_clients = "),
    ),
    "a quorum too low": (
        stub(), "updates", {"defence": {"f": 2}, "round": {"min_clients": 9, "quorum": 4}},
        ("round.quorum = 4 updates are too few", "quorum = 5 in [round]"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule, sees, tables, (cause, cure) = REFUSED[case]
    monkeypatch.setitem(RULES, "median", rule)  # a name that the settings know
    settings = of("median", sees, **{**tables, "defence": {"rule": "median", **tables.get("defence", {})}})
    error = refused(settings)
    assert cause in str(error)
    assert cure.lower() in " ".join(p.cure for p in error.problems).lower()
    holds(settings)


def test_a_round_of_too_few_is_void_before_the_rule_is_asked(tmp_path: Path) -> None:
    """Half of the rows are hostile: whatever the rule itself would accept."""
    view = view_of_arrays({f"c{i}": np.zeros(1, dtype=np.float32) for i in range(4)})
    with closing(Store(tmp_path)) as store:
        defence = replace(ConfiguredRule.of(of("multi-krum", f=2), store.journal), rule=stub(min_rows=lambda f: 1))
        with pytest.raises(TooFewClients) as caught:
            defence.judge(view, Situation(2))
    assert (caught.value.needed, caught.value.got) == (5, 4)
