"""A simulated federation: repeatable, kept where asked, refused early."""

from dataclasses import replace
from pathlib import Path

import pytest

from roughfed.deploy.simulate.options import SimulateOptions
from roughfed.deploy.simulate.ray_pool import brought, gathered, placed, plain
from roughfed.deploy.simulate.rounds import Audience
from roughfed.deploy.simulate.run import simulate
from roughfed.deploy.simulate.seeded import Entropy, Registry
from roughfed.errors import ConfigError, TrainerError
from roughfed.training import BaseFile, StatePlace, Turn
from roughfed.wire.enrolment import open_member

SMALL = SimulateOptions(clients=6, cohort=4, rounds=2, server_sees="updates", settings={"round.evaluate_every": "2"})


@pytest.mark.timeout(120)
def test_the_same_options_give_the_same_model_and_rounds_are_told_as_they_end(tmp_path: Path) -> None:
    told: list[int] = []
    found = simulate(replace(SMALL, out=tmp_path / "kept"), Audience(round_over=lambda each: told.append(each.round)))

    assert (found.ended, found.model_version, told) == ("rounds", 2, [1, 2])
    assert all((r.outcome, r.cohort) == ("committed", 4) and r.upload_bytes > 0 for r in found.rounds)
    assert (tmp_path / "kept" / "server" / "fed.toml").is_file()
    assert simulate(SMALL).model_digest == found.model_digest


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"clients": 1}, "--clients"),
        ({"clients": 10**6}, "--clients"),
        ({"cohort": 7}, "--cohort"),
        ({"settings": {"round.deadline": "never"}}, "round.deadline"),
        ({"server_sees": "sketches", "cohort": 3}, "round.cohort"),
    ],
)
def test_what_cannot_be_simulated_is_refused(change: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(SMALL, **change).federation()  # pyright: ignore[reportArgumentType]
    assert caught.value.key == key
    assert caught.value.cure


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(ConfigError, match="not empty"):
        simulate(replace(SMALL, out=tmp_path))


def test_keys_and_roster_follow_from_the_seed_and_the_ca_vouches_for_them() -> None:
    one, same, other = (Registry("f", seed).admit("a") for seed in (1, 1, 2))
    assert (one.member, one.identity.public_key) == (same.member, same.identity.public_key)
    assert one.identity.public_key != other.identity.public_key
    entry = open_member(one.member, one.ca_certificate)
    assert (entry.name, entry.identity_key) == ("a", one.identity.public_key)
    draws = Entropy(1, "server"), Entropy(1, "server"), Entropy(1, "client")
    first, again, else_where = ([draw(32) for _ in range(3)] for draw in draws)
    assert first == again
    assert len({*first, *else_where}) == 6


def test_what_a_training_reads_and_writes_travels_as_bytes(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "memory").write_bytes(b"m")
    (tmp_path / "model").write_bytes(b"p")
    turn = Turn(1, 2, state=StatePlace(tmp_path / "state", bytes(32))).plain()
    arguments = {"params": str(tmp_path / "model"), "delta": str(tmp_path / "delta"), "seed": 3, "turn": turn}

    assert gathered(arguments) == {"params": b"p", "state/memory": b"m"}
    there = placed(plain(arguments), tmp_path / "there")
    assert (there["params"], there["seed"]) == (str(tmp_path / "there" / "params"), 3)
    assert there["turn"]["state"]["folder"] == str(tmp_path / "there" / "state")

    brought(arguments, {"delta": b"d", "state/next": b"n"})
    assert (tmp_path / "delta").read_bytes() == b"d"
    assert (tmp_path / "state" / "next").read_bytes() == b"n"


@pytest.mark.parametrize("name", ["out", "state/../../x", "/etc/x", "other"])
def test_a_file_that_nobody_asked_for_is_refused(name: str, tmp_path: Path) -> None:
    turn = Turn(1, 2, state=StatePlace(tmp_path / "s" / "state", bytes(32))).plain()
    with pytest.raises(TrainerError, match="nobody asked for"):
        brought({"delta": str(tmp_path / "delta"), "turn": turn}, {name: b""})


def test_a_base_does_not_travel(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="leave --ray out"):
        plain({"turn": Turn(1, 2, base=BaseFile(tmp_path)).plain()})
