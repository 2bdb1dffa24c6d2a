"""What the defence found reaches the journal, the summary, the operator and the metrics, and only what it found."""

import asyncio
from contextlib import closing
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from roughfed.config.federation import FederationConfig
from roughfed.deploy.cli.status_table import draw_ended
from roughfed.report.summary import DefenceSummary
from roughfed.server.defence import RULES, Rule, Situation, Verdict, View
from roughfed.server.defence.findings import Exclusions, shown
from roughfed.server.defence.memory import ConfiguredRule
from roughfed.server.defence.verdict import Coefficients
from roughfed.server.observe.run_summary import round_summaries
from roughfed.server.storage.store import Store
from tests.simulation.rig import newest, scene, whole_run

SCORES = {"alpha": 1.0, "beta": 7.5, "gamma": 2.0}


def without_beta(view: View, _: Situation) -> Verdict:
    """Leave beta out, and give the others three quarters and one."""
    weights = {name: share for name, share in (("alpha", 0.75), ("gamma", 0.25)) if name in view.names}
    scores = {name: SCORES[name] for name in view.names}
    return Verdict({name: "far-out" for name in view.names if name == "beta"}, scores, Coefficients(weights))


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Of [defence], with a rule that is put into the table."""
    monkeypatch.setitem(RULES, "without-beta", Rule("for a test", ("updates",), lambda f: f + 1, without_beta))
    monkeypatch.setattr(FederationConfig.model_fields["defence"].annotation, "rule_of", lambda *_: "without-beta")
    return {"f": 1}


def told(folder: Path) -> DefenceSummary | None:
    with closing(Store(folder)) as store:
        return round_summaries(store)[-1].defence


def test_a_round_keeps_the_rule_its_scores_and_its_weights(tmp_path: Path, settings: dict[str, object]) -> None:
    row, rig = scene(tmp_path, defence=settings)

    kept = told(tmp_path)
    assert kept == DefenceSummary("without-beta", 1, 3, SCORES, {"beta": "far-out"}, {"alpha": 0.75, "gamma": 0.25})
    assert row.excluded == {"beta": "far-out"}
    assert newest(tmp_path)[1].tolist() == [0.75 * 1 + 0.25 * 3] * 500
    page = rig.ctx.metrics.render().decode()
    assert 'roughfed_client_excluded_total{client="beta"} 1.0' in page
    assert 'roughfed_defence_excluded_total{defence="other",reason="other"} 1.0' in page
    assert 'roughfed_defence_score{part="highest"} 7.5' in page
    assert "roughfed_defence_rows 3.0" in page
    norm = np.linalg.norm(np.full(500, 0.75 * 1 + 0.25 * 3))
    assert f"roughfed_aggregate_norm {norm}" in page


def test_who_is_out_for_another_reason_is_no_finding_of_the_rule(tmp_path: Path, settings: dict[str, object]) -> None:
    row, rig = scene(tmp_path, {"gamma": "poison"}, defence=settings | {"f": 0})

    kept = told(tmp_path)
    assert kept is not None
    assert row.excluded == {"beta": "far-out", "gamma": "not-finite"}
    assert (kept.judged, kept.excluded, kept.scores) == (2, {"beta": "far-out"}, {"alpha": 1.0, "beta": 7.5})
    assert 'client_excluded_total{client="gamma"} 0.0' not in rig.ctx.metrics.render().decode()


def test_after_a_crash_the_journal_still_has_the_scores(tmp_path: Path, settings: dict[str, object]) -> None:
    scene(tmp_path, defence=settings)
    before = told(tmp_path)
    with closing(Store(tmp_path)) as store:
        asyncio.run(store.journal.write(lambda db: db.execute("UPDATE rounds SET summary = NULL")))
    assert told(tmp_path) is None

    whole_run(tmp_path, rounds=1, defence=settings)  # nothing is left to do but the summary

    assert before is not None
    assert told(tmp_path) == replace(before, weights={})  # they are of no use once the sum is made


def test_an_abandoned_round_was_not_judged(tmp_path: Path, settings: dict[str, object]) -> None:
    row, _ = scene(tmp_path, {"beta": "fails", "gamma": "fails"}, defence=settings)

    assert row.outcome == "abandoned"
    assert told(tmp_path) is None


def test_the_operator_is_shown_the_last_verdicts_and_all_exclusions(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    with closing(Store(tmp_path)) as store:
        exclusions, defence = Exclusions(store), ConfiguredRule.of(FederationConfig(), store.journal)
        assert shown(store, defence, exclusions)["verdicts"] == []
        for _ in range(2):
            scene(tmp_path, defence=settings)
        found = shown(store, defence, exclusions)
        scene(tmp_path, {"gamma": "absurd"}, defence=settings | {"f": 0})
        again = shown(store, defence, exclusions)

    assert (found["rule"], found["round"], found["judged"], found["tolerated"]) == ("without-beta", 2, 3, 1)
    assert found["verdicts"] == [
        {"client": "alpha", "reason": "", "score": 1.0},
        {"client": "beta", "reason": "far-out", "score": 7.5},
        {"client": "gamma", "reason": "", "score": 2.0},
    ]
    assert found["excluded"] == {"beta": {"far-out": 2}}
    assert again["excluded"] == {"beta": {"far-out": 3}, "gamma": {"magnitude": 1}}
    drawn = words(again)
    assert [line.split() for line in drawn.splitlines()[-4:]] == [
        ["client", "state", "last", "round", "left", "out"],
        ["beta", "excluded", "far-out", "3"],
        ["gamma", "excluded", "ten", "thousand", "times", "as", "long", "as", "the", "others", "1"],
        ["alpha", "in", "the", "sum"],
    ]


def words(defence: dict[str, object]) -> str:
    """What an ended server says of its defence."""
    ended = {"run": "r", "finished": "rounds", "rounds_committed": 3, "rounds_abandoned": 0, "best_version": None}
    ended |= {"model_version": 3, "parameters": 10, "accuracy": None, "defence": defence}
    Console(width=100, file=(written := StringIO())).print(draw_ended(ended, {}))
    return written.getvalue()
