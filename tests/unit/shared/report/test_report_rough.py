"""What the page says about rough data: long tails, confusion, confidence, tasks, and plain FedAvg beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from roughfed.measures import figures, mean, recall_by_class
from roughfed.report.html import render
from roughfed.report.scale import percent
from roughfed.report.summary import CalibratedSummary, RoundSummary, RunSummary, TaskSpan, with_class_counts
from roughfed.types import BINS, CONFIDENCE_ONE, Evaluation
from tests.unit.report_page import Reading, values

CLASSES, ROUNDS, NAMES = 10, 10, [f"client-{i}" for i in range(1, 7)]
COUNTS = [round(600 * 0.7**c) for c in range(CLASSES)]
SPANS = [TaskSpan([2 * t, 2 * t + 1], 2 * (t + 1)) for t in range(5)]


def measured(number: int, skill: float, *, tasks: bool = False) -> Evaluation:
    """A model of this skill after so many rounds: worse on the tail, surer than right; in tasks it forgets."""
    draw, each = np.random.default_rng(number), 40
    table = np.zeros((CLASSES, CLASSES), dtype=int)
    for c in range(CLASSES):
        age = (number - 1) // 2 - c // 2
        forgot = 0.0 if age < 0 else 0.97 * (0.35 + 0.6 * skill) ** age
        recall = forgot if tasks else skill * (1 - 0.5 ** (number / 2)) * (1 - 0.06 * c * (1.3 - skill))
        near = 1 / (np.abs(np.arange(CLASSES) - c) + 0.5) ** 2
        near[c] = 0
        table[c] = draw.multinomial(each - round(each * recall), near / near.sum())
        table[c, c] = round(each * recall)
    total, right = int(table.sum()), int(table.trace())
    wrong = draw.multinomial(total - right, np.arange(1, BINS + 1) / 120)
    correct = draw.multinomial(right, np.arange(1, BINS + 1) ** 2 / 1240)
    count = wrong + correct
    sure = count * (np.arange(BINS) + 0.5) * CONFIDENCE_ONE // BINS
    return Evaluation(
        bytes(32),
        total,
        (2.3 - 2 * skill * (1 - 0.5 ** (number / 2))) * total,
        tuple(table.sum(axis=1).tolist()),
        tuple(table.diagonal().tolist()),
        confusion=tuple(table.reshape(-1).tolist()),
        calibration=tuple(int(n) for n in (*count, *correct, *sure)),
    )


def one_round(number: int, skill: float, *, tasks: bool = False, wrong: float | None = None) -> RoundSummary:
    found = measured(number, skill, tasks=tasks)
    shares, recall = figures(found), list(recall_by_class(found))
    return RoundSummary(
        number,
        number,
        seconds=1.4,
        phase_seconds={"configure": 0.1, "report": 1.2, "aggregate": 0.1},
        participants=NAMES,
        accepted=NAMES,
        upload_bytes=6 * 27_000,
        download_bytes=6 * 31_000,
        accuracy=shares.accuracy,
        balanced_accuracy=shares.balanced,
        loss=found.loss,
        class_accuracy=recall,
        worst_class=shares.worst,
        macro_f1=shares.macro_f1,
        calibration_error=shares.calibration_error,
        confusion=np.array(found.confusion).reshape(CLASSES, CLASSES).tolist(),
        calibration=list(found.calibration),
        memorised_wrong=None if wrong is None else wrong * number / ROUNDS,
        client_accuracy={name: 0.6 + 0.05 * i for i, name in enumerate(NAMES)},
    )


def rough_run(skill: float = 0.9, *, tasks: bool = False, wrong: float | None = None, **changes: object) -> RunSummary:
    rounds = [one_round(n, skill, tasks=tasks, wrong=wrong) for n in range(1, ROUNDS + 1)]
    run = RunSummary(
        "kind-otter",
        "rough",
        "updates",
        len(NAMES),
        26_122,
        4 * 26_122,
        rounds=rounds,
        holdings=[[n // 6 + (i * n) // 40 for n in COUNTS] for i in range(6)],
        client_names=NAMES,
        client_class_accuracy={
            name: [None if (c + i) % 4 == 0 else 0.95 - 0.05 * c - 0.03 * i for c in range(CLASSES)]
            for i, name in enumerate(NAMES)
        },
        class_prior=COUNTS,
        tasks=SPANS if tasks else [],
        untrained=[0.1] * CLASSES,
        config={"trainer": {"method": "balanced-softmax+gce+er"}},
        seconds_total=31.0,
        machine="Linux x86_64, 2 cores",
    )
    return replace(with_class_counts(run, COUNTS), **changes)  # pyright: ignore[reportArgumentType]


def words(page: str) -> str:
    return Reading(page).text


LONG_TAIL = rough_run()
CONTINUAL = rough_run(tasks=True)
PLAIN = rough_run(0.6, tasks=True, wrong=0.5)
NEVER = RunSummary("p", "", "sums", 6, 10, 40, rounds=[RoundSummary(1, 1)])
WIDE = replace(LONG_TAIL.rounds[-1], confusion=[[1] * 64] * 64)
ALL = {
    "long tail": (LONG_TAIL, None),
    "continual": (CONTINUAL, None),
    "against": (rough_run(tasks=True, wrong=0.1), PLAIN),
    "against one that was never measured": (LONG_TAIL, NEVER),
    "never measured, against one that was": (NEVER, PLAIN),
    "no round against none": (replace(LONG_TAIL, rounds=[]), replace(PLAIN, rounds=[])),
    "hostile": (
        replace(CONTINUAL, class_names=[f"<b>{i}\u202e" for i in range(10)], client_class_accuracy={"<script>": [0.5]}),
        PLAIN,
    ),
    "64 classes": (replace(LONG_TAIL, rounds=[WIDE], class_prior=list(range(64))), None),
}


@pytest.mark.parametrize("name", ALL)
def test_every_page_is_well_formed_and_self_contained(name: str) -> None:
    run, plain = ALL[name]
    page = Reading(render(run, plain=plain))
    assert set(page.tags).isdisjoint({"link", "img", "iframe", "object", "b/"})
    assert "\u202e" not in page.text
    assert len(render(run, plain=plain)) < 1_000_000


def test_a_long_tail_shows_head_and_tail_confusion_and_confidence() -> None:
    page = Reading(render(LONG_TAIL))
    text, last = page.text, LONG_TAIL.rounds[-1]
    for said in ("head is 0, 1, 2 (1,314 training examples); tail is 7, 8, 9", "Macro-F1", "Calibration error (ECE)"):
        assert said in text, said
    tail = values(page.chart("Head, medium and tail"), "tail")[-1]
    assert tail == pytest.approx(last.tail_accuracy, rel=1e-5)
    assert values(page.chart("Confusion matrix"), "0")[0] == pytest.approx(last.confusion[0][0] / 40, rel=1e-5)
    assert values(page.chart("Recall of each class on each client's own"), "client-2")[0] == pytest.approx(0.92)
    sure = page.chart("Calibration: how right the model is against how sure")
    assert f"error (ECE): {percent(last.calibration_error or 0)}" in sure["name"]
    assert sum(values(sure, "share of the examples")) == pytest.approx(1, abs=1e-4)
    off = [abs(r - s) * n for r, s, n in zip(*(each["values"] for each in sure["series"]), strict=True)]
    assert sum(off) == pytest.approx(last.calibration_error, abs=1e-4)
    assert "Tasks" not in text


def test_a_finished_classifier_stands_beside_the_version_that_it_was_made_of() -> None:
    finished = CalibratedSummary("ccvr", 10, "ab" * 32, accuracy=0.875, tail=0.625)
    text = words(render(replace(LONG_TAIL, calibrated=finished)))
    last = LONG_TAIL.rounds[-1]
    assert "version 10 finished by ccvr" in text
    assert f"accuracy {percent(last.accuracy or 0)} 87.5 %" in text
    assert f"tail {percent(last.tail_accuracy or 0)} 62.5 %" in text
    assert "finished by" not in words(render(LONG_TAIL))


def test_classes_of_one_size_have_no_tail() -> None:
    text = words(render(replace(LONG_TAIL, class_prior=[50] * CLASSES)))
    assert "tail is" not in text
    unknown = words(render(replace(LONG_TAIL, class_prior=[], holdings=None)))
    assert "tail is" not in unknown
    assert "tail is 7, 8, 9 (" in words(render(replace(LONG_TAIL, class_prior=[]))), "the demo knows who holds what"


def test_tasks_show_their_matrix_and_its_measures() -> None:
    page = Reading(render(CONTINUAL))
    text = page.text
    recalls = CONTINUAL.rounds[-1].class_accuracy or []
    for said in (
        "task 5 brings 8, 9",
        "class-incremental: the model chose among all classes",
        "forgetting",
        "plasticity 97.5 %",
        "after 5 of 5 tasks",
    ):
        assert said in text, said
    tasks = page.chart("Accuracy on each task (column) right after each task (row)")
    assert values(tasks, "after task 5")[0] == pytest.approx(mean(recalls[:2]), rel=1e-5)
    begun = replace(CONTINUAL, rounds=CONTINUAL.rounds[:1])
    assert "no task is over yet" in words(render(begun))


def test_a_comparison_shows_both_runs_in_the_same_tables_and_charts() -> None:
    run, plain = ALL["against"]
    assert plain is not None
    page = Reading(render(run, plain=plain))
    text = page.text
    gain = ((run.rounds[-1].balanced_accuracy or 0) - (plain.rounds[-1].balanced_accuracy or 0)) * 100
    for said in (
        f"balanced accuracy {percent(run.rounds[-1].balanced_accuracy or 0)}",
        f"{gain:+.1f} points, better",
        "wrong labels repeated 10 % 50 % -40.0 points, better",
        "right after each task (row), plain FedAvg",
    ):
        assert said in text, said
    for name in ("Accuracy by round", "Recall of each class at the end"):
        drawn = next(each for each in page.charts if each["name"] == name)
        assert [each["name"] for each in drawn["series"]] == ["this run", "plain FedAvg"]
    tasks = [each for each in page.charts if each["name"].startswith("Accuracy on each task (column)")]
    assert len(tasks) == 2, "once for each run"
    same = words(render(plain, plain=plain))
    assert "the same" in same
    assert "better" not in same


def test_a_worse_run_is_called_worse() -> None:
    text = words(render(ALL["against"][1] or LONG_TAIL, plain=ALL["against"][0]))
    assert "wrong labels repeated 50 % 10 % +40.0 points, worse" in text
