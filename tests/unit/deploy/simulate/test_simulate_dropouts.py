"""Clients that a simulation loses: who, at which stage, what becomes of the others, and no deadline that is sat out."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Literal, cast

import pytest

from roughfed.deploy.cli.simulate import stage_words
from roughfed.deploy.simulate import dropouts
from roughfed.deploy.simulate.dropout_outcomes import MASKED_STAGES, Losses, RoundLosses, by_stage, losses_of, stages_of
from roughfed.deploy.simulate.options import SimulateOptions
from roughfed.deploy.simulate.run import simulate
from roughfed.errors import ConfigError
from roughfed.report.summary import DefenceSummary, GroupSummary, RoundSummary

Lost = dict[str, str]

COHORT = [f"c{number:02d}" for number in range(40)]
OPTIONS = SimulateOptions(clients=12, rounds=7, lose=0.3, at="each", workers=1, settings={"round.evaluate_every": "0"})


def lost(
    number: int, *, at: str = "random", share: float = 0.3, seed: int = 1, sees: str = "sketches"
) -> dict[str, str]:
    return Losses(share, at).lost(number, COHORT, seed=seed, server_sees=sees)


def test_who_is_lost_follows_from_seed_and_round() -> None:
    assert lost(1) == lost(1)
    assert len({frozenset(lost(number)) for number in range(1, 9)} | {frozenset(lost(1, seed=2))}) == 9
    assert {len(lost(number)) for number in range(1, 9)} == {12}
    assert len(lost(1, share=0.29)) == 11  # whole clients, rounded down
    assert set().union(*(lost(number) for number in range(1, 30))) == set(COHORT)


def test_stages_are_one_each_in_turn_or_drawn_for_each_client() -> None:
    assert {stage for number in range(1, 30) for stage in lost(number).values()} == set(MASKED_STAGES)
    assert [set(lost(number, at="each").values()) for number in range(1, 8)] == [
        {stage} for stage in (*MASKED_STAGES, MASKED_STAGES[0])
    ]
    assert set(lost(3, at="unmask").values()) == {"unmask"}
    assert set(lost(3, sees="updates").values()) == {"upload"}
    assert "sketch" not in stages_of("sums")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"lose": 1.0}, "--lose"),
        ({"lose": -0.1}, "--lose"),
        ({"lose": 0.08}, "--lose"),  # of 12 clients, not even one
        ({"lose": 0.2, "cohort": 4}, "--lose"),
        ({"at": "lunch"}, "--at"),
        ({"at": "sketch", "server_sees": "sums"}, "--at"),
        ({"lose": 0.0}, "--at"),
        ({"lose": 0.0, "at": "", "silent": True}, "--silent"),
    ],
)
def test_losses_that_cannot_be_are_refused(change: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(OPTIONS, **change).federation()  # pyright: ignore[reportArgumentType]
    assert caught.value.key == key
    assert caught.value.cure


@pytest.mark.parametrize("cohort", [3, 7, 8, 40, 1000, 100_000])
def test_the_share_that_a_refusal_advises_loses_somebody(cohort: int) -> None:
    with pytest.raises(ConfigError) as caught:
        Losses(0.5 / cohort).check("sketches", cohort)
    assert Losses(float(caught.value.cure.split()[0])).of(cohort) >= 1


def test_a_quorum_that_is_given_stands() -> None:
    assert OPTIONS.federation()[0].round.quorum == 4
    assert replace(OPTIONS, settings={"round.quorum": "0.5"}).federation()[0].round.quorum == 0.5
    assert replace(OPTIONS, lose=0.0, at="").federation()[0].round.quorum == 0.8


def test_every_survivor_counts_or_has_its_reason() -> None:
    summary = RoundSummary(
        3,
        2,
        participants=COHORT[:10],
        accepted=COHORT[:4],
        excluded=[("c04", "disagrees"), ("c05", "norm"), ("c06", "void"), ("c07", "left-out"), ("c08", "no-sketch")],
        groups=[GroupSummary(COHORT[:6]), GroupSummary(COHORT[6:10], "too-few-answers")],
        defence=DefenceSummary("default", 1, 9, excluded={"c04": "disagrees", "c06": "disagrees"}),
    )
    found = losses_of(summary, ["c00", "c08", "c09"], "sketch")

    assert found == RoundLosses("sketch", 3, 7, counted=3, excluded=2, void=2, lost_counted=1, groups=2, void_groups=1)
    abandoned = losses_of(replace(summary, outcome="abandoned", accepted=[]), ["c00"], "sketch")
    assert (abandoned.counted, abandoned.excluded, abandoned.void) == (0, 0, 9)
    in_the_clear = losses_of(replace(summary, outcome="abandoned"), ["c00"], "upload")  # its updates came, for nothing
    assert (in_the_clear.counted, in_the_clear.void, in_the_clear.lost_counted) == (0, 9, 0)


def test_rounds_are_added_up_by_stage_and_told_in_a_line() -> None:
    kept = RoundLosses("unmask", 3, 7, counted=5, excluded=1, void=1, lost_counted=1, groups=2, void_groups=1)
    empty = replace(kept, counted=0, excluded=0, void=7, lost_counted=0, void_groups=2)
    found = by_stage(
        [
            ("committed", kept),
            ("nothing-accepted", empty),
            ("committed", replace(kept, at="shares")),
            ("committed", None),
        ]
    )

    assert list(found) == ["shares", "unmask"]
    figures = found["unmask"]
    assert (figures["rounds"], figures["committed"], figures["other_outcomes"]) == (2, 1, {"nothing-accepted": 1})
    assert (figures["counted_share"], figures["least_counted_share"]) == (5 / 14, 0.0)
    assert "1 of 2 rounds committed" in (words := stage_words("unmask", figures))
    assert "35.7 % counted, 7.1 % were left out by the defence, 57.1 %" in words
    assert "3 of 4 groups void" in words


def test_time_stands_while_somebody_is_waited_for_and_skips_what_is_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr(dropouts, "time", SimpleNamespace(monotonic=lambda: now[0]))
    waits = SimpleNamespace(in_vain=lambda: False)
    clock = dropouts.LosingClock(cast(dropouts.Losing, waits))

    class Late(asyncio.Event):
        async def wait(self) -> Literal[True]:
            now[0] += 100.0
            self.set()
            return True

    async def play() -> list[float]:
        times = [clock()]
        await clock.wait(Late(), 60.0)
        times.append(clock())
        waits.in_vain = lambda: True
        await clock.wait(asyncio.Event(), 80.0)
        times.append(clock())
        waits.in_vain = lambda: False
        monkeypatch.setattr(dropouts, "HANGS_S", 0.01)
        await clock.wait(asyncio.Event(), 90.0)
        return [*times, clock()]

    assert asyncio.run(play()) == [50.0, 50.0, 80.0, 90.0]


@pytest.mark.timeout(120)
def test_clients_lost_at_every_stage_leave_a_sum_and_are_back() -> None:
    found = simulate(OPTIONS)  # one group of 12: 9 answers are enough

    assert found.ended == "rounds"
    rounds = [each.losses for each in found.rounds if each.losses is not None]
    assert [each.at for each in rounds] == [*MASKED_STAGES, MASKED_STAGES[0]]
    assert {(each.lost, each.survivors, each.void, each.void_groups) for each in rounds} == {(3, 9, 0, 0)}
    assert all(each.counted + each.excluded == 9 for each in rounds)
    early, late = rounds[:4], rounds[4:6]
    assert {each.lost_counted for each in early} == {0}
    assert all(each.lost_counted + each.excluded >= 3 for each in late)  # their inputs were complete
    uploads = [each.upload_bytes for each in found.rounds]
    assert uploads[0] == uploads[1] == uploads[2] == uploads[6]
    assert uploads[3] == uploads[4] == uploads[5] == uploads[0] * 12 // 9
    assert found.losses["unmask"]["committed_share"] == 1.0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_silence_ends_as_a_broken_session_does_and_costs_no_deadline() -> None:
    spoken, silent = simulate(OPTIONS), simulate(replace(OPTIONS, silent=True))

    assert silent.model_digest == spoken.model_digest
    assert [each.losses for each in silent.rounds] == [each.losses for each in spoken.rounds]
    assert max(each.seconds for each in silent.rounds) < 25  # a stage waits 30 s for who is connected
    long = simulate(replace(OPTIONS, silent=True, rounds=14))
    assert (long.ended, len(long.rounds)) == ("rounds", 14)
    assert long.released > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_quorum_that_losses_never_leave_pauses_the_run_which_ends() -> None:
    found = simulate(replace(OPTIONS, at="upload", settings={"round.quorum": "1.0"}))

    assert (found.ended, [each.outcome for each in found.rounds]) == ("paused", ["abandoned"] * 5)
    assert found.losses["upload"]["committed"] == 0
