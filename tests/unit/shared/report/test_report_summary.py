"""A summary survives its JSON form, and refuses what is not one."""

import json

import pytest

from roughfed.errors import ConfigError
from roughfed.measures import class_incremental
from roughfed.report.summary import (
    Comparison,
    RoundSummary,
    RunSummary,
    TaskSpan,
    compare,
    last_known,
    per_client_round,
    task_matrix,
    with_class_counts,
)

RUN = RunSummary(
    run="r1",
    scenario="clean",
    server_sees="updates",
    clients=2,
    parameters=10,
    float32_bytes=40,
    rounds=[
        RoundSummary(round=1, version=1, participants=["a", "b"], accepted=["a"], dropped=["b"], upload_bytes=80),
        RoundSummary(
            round=2,
            version=2,
            outcome="void",
            seconds=1.5,
            phase_seconds={"train": 1.0},
            participants=["a", "b"],
            accepted=["a"],
            excluded=[("b", "norm-bound")],
            upload_bytes=80,
            download_bytes=90,
            accuracy=0.5,
            balanced_accuracy=0.25,
            loss=1.0,
            class_accuracy=[0.5, None],
            client_accuracy={"a": 1.0},
        ),
    ],
    holdings=[[1, 2], [3, 4]],
    client_names=["a", "b"],
    config={"data": {"alpha": 0.5, "dir": None}, "seed": 1},
    seconds_total=3.0,
)


def test_json_round_trip() -> None:
    assert RunSummary.from_json(RUN.to_json()) == RUN
    assert RunSummary.from_json(RUN.to_json().encode()) == RUN


def test_a_diverged_loss_becomes_null_and_the_text_stays_json() -> None:
    text = RunSummary("r", "clean", "updates", 1, 1, 4, rounds=[RoundSummary(1, 1, loss=float("nan"))]).to_json()
    assert json.loads(text, parse_constant=pytest.fail)["rounds"][0]["loss"] is None
    assert RunSummary.from_json(text).rounds[0].loss is None


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("not json", ""),
        ("[]", ""),
        ("{}", "run"),
        (RUN.to_json().replace('"round":1', '"round":"x"').replace('"round": 1', '"round": "x"'), "rounds.0.round"),
    ],
)
def test_what_is_no_summary_is_refused_with_the_place(text: str, key: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        RunSummary.from_json(text)
    assert refusal.value.key == key


def test_bytes_are_counted_by_client_and_round() -> None:
    assert per_client_round((r.upload_bytes for r in RUN.rounds), RUN.rounds) == 40
    assert per_client_round([], []) is None


def test_the_last_known_value_skips_gaps() -> None:
    assert last_known([0.1, 0.2, None, float("nan")]) == 0.2
    assert last_known([None]) is None


def learnt(*recalls: list[float | None] | None, ends: tuple[int, ...] = (2, 4), **changes: float | None) -> RunSummary:
    """A run of two tasks with two classes each."""
    rounds = [RoundSummary(n, n, class_accuracy=recall, **changes) for n, recall in enumerate(recalls, start=1)]
    tasks = [TaskSpan([0, 1], ends[0]), TaskSpan([2, 3], ends[1])]
    return RunSummary("r", "continual", "updates", 1, 1, 4, rounds=rounds, tasks=tasks, untrained=[0.0, 0.5, 0.0, 0.0])


A, B, C = [0.9, 0.9, 0.1, 0.0], [1.0, 0.5, 0.0, 0.2], [0.5, 0.0, 1.0, 0.9]


def test_tasks_are_measured_after_their_last_round() -> None:
    full = task_matrix(learnt(A, B, B, C))
    assert full is not None
    assert full.values == ((0.75, 0.1), (0.25, 0.95))
    assert (full.protocol, full.untrained) == ("class-incremental", (0.25, 0.0))
    assert full.forgetting == pytest.approx(0.5)
    assert task_matrix(learnt(A, None, B, C)) == class_incremental(
        [tuple(A), tuple(C)], [[0, 1], [2, 3]], (0, 0.5, 0, 0)
    )
    assert task_matrix(learnt(A)) is None
    partly = task_matrix(learnt(A, B, C))
    assert partly is not None
    assert (len(partly.values), partly.forgetting) == (1, None)


def test_head_and_tail_follow_from_who_has_what() -> None:
    run = with_class_counts(learnt(A, None), [5, 100, 50, 7])
    assert [(r.head_accuracy, r.tail_accuracy) for r in run.rounds] == [(0.9, 0.9), (None, None)]
    assert run.rounds[0].medium_accuracy == pytest.approx(0.05)
    assert with_class_counts(learnt(A), [1, 2]).rounds == learnt(A).rounds
    assert with_class_counts(learnt(A), [0] * 4).rounds[0].tail_accuracy is None


def test_a_comparison_has_the_last_figures_of_both_runs() -> None:
    run = with_class_counts(learnt(A, B, B, C, balanced_accuracy=0.6, memorised_wrong=0.1), [9, 5, 4, 1])
    plain = with_class_counts(learnt(A, A, A, A, balanced_accuracy=0.4, memorised_wrong=None), [9, 5, 4, 1])
    assert compare(run, plain) == Comparison(0.6, 0.9, pytest.approx(0.5), 0.1, 0.4, 0.0, 0.0, None)
    assert compare(run, None).plain_balanced_accuracy is None
