"""The page says whom the defence left out, when and why, by which figures, and what it was worth."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.report.defence import caught, exclusions, judged, spans, was_judged
from roughfed.report.html import render
from roughfed.report.summary import DefenceSummary, RoundSummary, RunSummary
from roughfed.report.words import BLAMELESS, VOID
from tests.unit.report_page import Reading, values

NAMES = ["ann", "bob", "eve"]


def a_round(number: int, *out: tuple[str, str], **changes: object) -> RoundSummary:
    scores = {"ann": 1.0, "bob": 2.0 / number, "eve": 40.0}
    found = DefenceSummary("multi-krum", 1, 3, scores, {n: w for n, w in out if w == "multi-krum"})
    accepted = [name for name in NAMES if name not in dict(out)]
    bare = RoundSummary(number, number, accuracy=0.5 + number / 10, participants=NAMES, accepted=accepted)
    return replace(bare, excluded=list(out), defence=found, **changes)


def a_run(*rounds: RoundSummary, **changes: object) -> RunSummary:
    return replace(RunSummary("r", "poisoned", "updates", 3, 10, 40, rounds=list(rounds)), **changes)


CAUGHT = a_run(
    a_round(1, ("eve", "multi-krum")),
    a_round(2, ("eve", "multi-krum"), ("bob", "norm")),
    a_round(3, ("ann", VOID)),
    hostile=["eve"],
    attack="sign-flip",
)


def test_only_what_is_a_clients_own_counts_against_it() -> None:
    assert exclusions(CAUGHT) == {"bob": [2], "eve": [1, 2]}
    assert exclusions(a_run(a_round(1, *((f"c{i}", why) for i, why in enumerate(BLAMELESS))))) == {}
    found = caught(CAUGHT)
    assert (found.hits, found.false_exclusions) == (2, 1)


def test_the_page_marks_the_hostile_and_who_was_left_out() -> None:
    section = judged(CAUGHT)

    assert "multi-krum judged 3 updates a round, to hold against 1 hostile ones" in section
    assert "<td>eve\u00a0★</td><td" in section
    assert "1 to 2" in section
    chart = Reading(section).chart("Scores by round")
    assert [each["name"] for each in chart["series"]] == ["eve\u00a0★", "ann", "bob"]
    assert (chart["why"], chart["marks"]) == ("left out", [[0, 0], [0, 1], [2, 1]])
    assert values(chart, "eve\u00a0★") == [40.0] * 3


def scored(rule: str, *scores: float) -> RunSummary:
    rounds = enumerate(scores, start=1)
    return a_run(*(replace(a_round(n), defence=DefenceSummary(rule, 1, 3, {"eve": score})) for n, score in rounds))


def test_scores_are_shaded_by_the_limit_and_never_by_the_highest_of_a_round() -> None:
    """A calm round, in which nobody comes near the limit, is pale; so is one beside it in which somebody does."""
    assert (
        Reading(judged(scored("default", 0.1, 3.0))).chart("Scores by round, the full shade is the limit")["top"] == 1
    )
    assert (
        Reading(judged(scored("krum", 10.0, 40.0))).chart("Scores by round, shaded by the highest of all")["top"] == 40
    )


def test_weights_are_shown_where_the_rule_gave_any() -> None:
    given_ = DefenceSummary("fltrust", 1, 3, {}, {}, {"ann": 0.75, "bob": 0.25, "eve": 0.0})
    assert "Weights that the rule gave" in judged(a_run(replace(a_round(1), defence=given_)))
    assert "Weights" not in judged(CAUGHT)


def test_a_run_without_a_defence_has_no_such_section() -> None:
    none = DefenceSummary("none", 1, 3)
    assert not was_judged(a_run(replace(a_round(1), defence=none)))
    assert not was_judged(a_run(replace(a_round(1), defence=None)))
    assert was_judged(a_run(replace(a_round(1, ("eve", "bad-deal")), defence=none)))
    assert "<h2>Defence</h2>" not in render(a_run(replace(a_round(1), defence=none)))


def test_a_poisoned_run_stands_beside_the_others() -> None:
    worse = a_run(a_round(1, accuracy=0.1), a_round(2, accuracy=0.2, attack_success=0.9))
    page = render(CAUGHT, plain=worse, clean=a_run(a_round(1), a_round(2)))

    assert "<h2>Under attack</h2>" in page
    assert "sign-flip: eve. They were left out 2 of 3 times, and honest clients 1 times" in page
    assert '<th scope="col" class="n">no defence</th>' in page
    assert '<td class="n">20 %</td>' in page
    assert "goal reached" in page
    assert "Against plain FedAvg" not in page
    assert "<h2>Under attack</h2>" in render(CAUGHT)  # alone


@pytest.mark.parametrize("names", [["a"] * 1, [f"c{i}" for i in range(300)]])
def test_many_clients_and_rounds_stay_a_picture(names: list[str]) -> None:
    names = sorted(set(names))
    rounds = [
        replace(a_round(n), defence=DefenceSummary("krum", 1, len(names), dict.fromkeys(names, 0.0)))
        for n in range(1, 200)
    ]
    section = judged(a_run(*rounds, hostile=names[-1:]))
    chart = Reading(section).chart("Scores by round")

    assert len(chart["series"]) <= 40
    assert len(chart["x"]) == 30


@given(st.lists(st.integers(1, 40), unique=True).map(sorted))
def test_spans_say_every_number_once(numbers: list[int]) -> None:
    said: list[int] = []
    for part in filter(None, spans(numbers).split(", ")):
        first, _, last = part.partition(" to ")
        said += range(int(first), int(last or first) + 1)

    assert said == numbers
