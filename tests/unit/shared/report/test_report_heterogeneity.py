"""The page says what is known of clients that differ, nothing more, and what it cannot prove."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from roughfed.errors import StorageError
from roughfed.report.heterogeneity.contribution import PROVES
from roughfed.report.heterogeneity.parts import FairnessFigures, Heterogeneity, Spread, heterogeneity_of
from roughfed.report.heterogeneity.sections import SECTIONS, sections
from roughfed.report.html import render
from roughfed.report.scale import alike
from roughfed.report.summary import RoundSummary, RunSummary, Together
from roughfed.server.extensions.contribution import METHODS
from tests.unit.heterogeneous_rounds import NAMES, summary
from tests.unit.report_page import Reading, values

KEYS = {"Personal": "spread", "Clusters": "cluster", "Tiers of clients": "tiers", "Fairness": "fairness"}
KEYS |= {"Contribution": "contribution"}


def a_round(number: int, told: dict[str, Any], **changes: Any) -> RoundSummary:
    return replace(
        RoundSummary(number, number, participants=list(NAMES), heterogeneity=heterogeneity_of(told)), **changes
    )


def a_run(*rounds: RoundSummary, **changes: Any) -> RunSummary:
    return replace(RunSummary("r", "heterogeneous", "updates", len(NAMES), 10, 40, rounds=list(rounds)), **changes)


def page(title: str, run: RunSummary) -> str:
    known, content = SECTIONS[title]
    assert known(run)
    return content(run)


FULL = a_run(*(a_round(n, summary(n)) for n in (1, 2, 3)))

SAYS = {
    "Personal": ["33.3 % of the clients", "<td>common</td>", "<td>alone</td>", "62.5 %", "12.5", "measure themselves"],
    "Clusters": ["2 clusters after round 3", "0: 2, 1: 1", "split in two", "ann, eve", "can choose how it looks"],
    "Tiers of clients": ["1 in 16", "head.*", "4 KiB", "256 B", "0.0625", "too few", "rests on few"],
    "Fairness": [
        "q-fedavg, strength 2",
        "53 % on average",
        "25 % for the worst tenth",
        "12.5 points",
        "a claim",
    ],
    "Contribution": [
        "gtg-shapley, 120 evaluations",
        "1 client was taken for a free rider",
        "cosine",
        "sends nothing",
        "collude",
    ],
}


@pytest.mark.parametrize("title", SAYS)
def test_a_section_says_what_its_summary_knows(title: str) -> None:
    section = page(title, FULL)
    assert [words for words in SAYS[title] if words not in section] == []
    assert f"<h2>{title}</h2>" in render(FULL)


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_is_there_only_with_its_key(title: str) -> None:
    without = {key: value for key, value in summary(1).items() if key != KEYS[title]}
    headings = {found for found in SECTIONS if f"<h2>{found}</h2>" in "".join(sections(a_run(a_round(1, without))))}
    also = {"Fairness"} if title == "Fairness" else set()  # the spread alone fills it, too
    assert headings == SECTIONS.keys() - {title} | also
    assert sections(a_run(a_round(1, {KEYS[title]: None}))) == []
    assert sections(a_run(a_round(1, {"contribution": {"free_riders": {}, "evidence": {}}}))) == []
    assert sections(a_run()) == []


@pytest.mark.parametrize("only", KEYS.values())
def test_one_key_alone_makes_a_page(only: str) -> None:
    for numbers in ((1,), (1, 2), (1, 3)):
        run = a_run(*(a_round(n, {only: summary(n)[only]}) for n in numbers), RoundSummary(4, 4))
        assert "script" in Reading(render(run)).tags


def test_charts_show_every_client() -> None:
    clusters = Reading(page("Clusters", FULL)).chart("Cluster of each client")
    assert values(clusters, "bob")[:2] == ["0", "1"]
    contribution = Reading(page("Contribution", a_run(*FULL.rounds, hostile=["ann"])))
    totals = contribution.chart("Score so far, the highest first, with intervals")
    bob = totals["x"].index("bob")
    assert (totals["low"][bob], totals["high"][bob]) == (0.005, 0.015)
    rounds = contribution.chart("Score in each round")
    assert (rounds["why"], len(rounds["marks"])) == ("taken for a free rider", 2)
    assert values(rounds, "ann\u00a0★")[2] == pytest.approx(0, abs=1e-3)
    assert values(Reading(page("Fairness", FULL)).chart("Factor of each client"), "eve")[1] == 3


def test_personal_models_are_shown_by_client_or_else_as_counts() -> None:
    known = dict(zip(NAMES, (0.5, 0.625, 0.75), strict=True))
    run = a_run(a_round(1, summary(1), client_accuracy=known, client_personal={"ann": 0.875}))
    chart = Reading(page("Personal", run)).chart("By client")
    assert values(chart, "personal")[chart["x"].index("ann")] == 0.875
    assert "±" not in page("Personal", run)

    summed = Together(histogram=[0, 1, 2, 0], personal_histogram=[0, 0, 1, 2])
    told = summary(1)
    told["spread"]["personal"]["within"] = 0.125
    masked = page("Personal", a_run(a_round(1, told, together=summed)))
    chart = Reading(masked).chart("Clients by accuracy")
    assert values(chart, "personal")[chart["x"].index("75")] == 2
    assert "in steps of 25 %: ± 12.5 %" in masked


def test_a_common_model_alone_is_no_personal_section() -> None:
    told = {"spread": {"global": summary(1)["spread"]["global"]}}
    assert "<h2>Personal</h2>" not in render(a_run(a_round(1, told)))
    assert "No fairness rule weighed the clients" in page("Fairness", a_run(a_round(1, told)))


HOSTILE = '<script>"&\u202e'


def renamed(value: Any) -> Any:
    """Every name and text in a summary replaced by a hostile one."""
    if isinstance(value, dict):
        return {(HOSTILE if key in (*NAMES, "fast") else key): renamed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [renamed(each) for each in value]
    return HOSTILE if isinstance(value, str) else value


def test_names_are_escaped_everywhere() -> None:
    run = a_run(*(a_round(n, renamed(summary(n)), client_personal={HOSTILE: 0.5}) for n in (1, 2)))
    html = Reading(render(run))
    assert '<script>"&\ufffd' in html.text
    assert "\u202e" not in html.text
    assert len(html.scripts) == len(html.charts) + 3
    assert any(each["name"].startswith(HOSTILE[:9]) for chart in html.charts for each in chart["series"])


def broken(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    told = summary(1)
    change(told)
    return told


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda t: t["spread"]["alone"].update(mean="high"), "spread.alone.mean"),
        (lambda t: t["spread"].update(worse_than_alone=[]), "spread"),
        (lambda t: t["cluster"].update(clusters=["0"]), "cluster.clusters"),
        (lambda t: t["tiers"]["slow"].update(clients=None), "tiers.slow.clients"),
        (lambda t: t["fairness"]["weights"].update(ann="much"), "fairness.weights.ann"),
        (lambda t: t["contribution"]["intervals"].update(bob=[1.0]), "contribution.intervals.bob"),
    ],
)
def test_a_journal_that_does_not_read_says_where(change: Callable[[dict[str, Any]], object], where: str) -> None:
    with pytest.raises(StorageError, match=f"does not read: {where}"):
        heterogeneity_of(broken(change))


def test_scores_that_come_later_or_never_leave_the_rest_as_it_is() -> None:
    flagged = {"free_riders": {"eve": "copy"}, "copies": {"eve": "bob"}, "evidence": {"eve": {"copy": 1.5}}}
    unscored = {"method": "gtg-shapley", "scores": {}, "skipped": "nobody has a weight"}
    run = a_run(a_round(1, summary(1)), a_round(2, {"contribution": unscored}), a_round(3, {"contribution": flagged}))
    section = page("Contribution", run)
    assert 0.005 in Reading(section).chart("Score so far")["low"]
    assert "nobody has a weight" in section
    assert "another client&#x27;s update: that of bob" in section
    assert "collude" in section
    assert "Nobody is scored" in page("Contribution", a_run(a_round(3, {"contribution": flagged})))


def test_every_method_says_what_its_scores_can_prove() -> None:
    assert PROVES.keys() == METHODS.keys()


def test_what_is_absent_is_unknown_and_not_zero() -> None:
    assert heterogeneity_of({}) == Heterogeneity()
    found = heterogeneity_of({"spread": {"global": {"clients": 3, "mean": 0.5}, "alone": None}}).spread
    assert found is not None
    assert (found.models, found.worse_than_alone) == ({"global": Spread(3, 0.5)}, None)
    assert heterogeneity_of(
        {"fairness": {"rule": "term", "t": 1, "weights": {"histogram": [1, 2]}}}
    ).fairness == FairnessFigures("term", 1.0, {}, [1, 2])
    assert heterogeneity_of({"fairness": {"rule": "x", "weights": {"histogram": 0.5}}}).fairness == FairnessFigures(
        "x", None, {"histogram": 0.5}
    )


def test_a_summary_survives_its_file() -> None:
    assert RunSummary.from_json(FULL.to_json()) == FULL


@pytest.mark.parametrize(
    ("high", "value", "written"),
    [(0.024, 0.0111, "0.011"), (0.024, 9e-5, "0.000"), (3.0, 0.777, "0.8"), (120.0, 7.7, "8"), (0.0, 1.0, "1")],
)
def test_figures_of_one_chart_have_the_same_digits(high: float, value: float, written: str) -> None:
    assert alike(high)(value) == written
