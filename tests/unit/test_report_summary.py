"""A summary survives its JSON form, and refuses what is not one."""

import json

import pytest

from roughfed.errors import ConfigError
from roughfed.report.summary import RoundSummary, RunSummary, last_known, per_client_round

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
