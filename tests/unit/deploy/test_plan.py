"""`roughfed plan`: numbers, words, warnings, refusals."""

import io
import itertools
import json
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from roughfed.codec import CODECS
from roughfed.codec.chain import encode
from roughfed.codec.downlink import quantise
from roughfed.codec.plan import ChainParams, Lanes
from roughfed.config import FederationConfig, SettingsRefused
from roughfed.config.client import PolicySettings
from roughfed.config.schema import keys_of
from roughfed.deploy.plan import Effective, plan
from roughfed.deploy.plan_groups import void_share
from roughfed.deploy.plan_table import render
from roughfed.deploy.plan_words import CHOICE_BITS, SKETCH_NUMBERS
from roughfed.errors import ConfigError
from roughfed.secagg.groups import colluders, smallest_sum, threshold
from roughfed.server.cohort.statistics import Shape


def config(**tables: dict[str, object]) -> FederationConfig:
    """A federation that can run, with some tables replaced."""
    return FederationConfig.model_validate({"model": {"name": "mlp"}, "data": {"name": "digits"}, **tables})


def text_of(settings: FederationConfig, **known: int) -> str:
    console = Console(width=160, file=io.StringIO())
    with console.capture() as capture:
        console.print(render(plan(settings, **known)))
    return capture.get()


def warnings_of(*, connected: int | None = None, **tables: dict[str, object]) -> str:
    return " ".join(plan(config(**tables), connected=connected).warnings)


def test_the_verdict_comes_first_and_then_what_to_look_at() -> None:
    said = text_of(config()).splitlines()
    assert said[0].startswith("These settings work, with ")
    assert said[1].startswith("waiting: 2 of 4 clients")
    assert said[2].startswith("warning: ")
    alone = text_of(config(round={"min_clients": 5}), connected=3).splitlines()
    assert alone[0].startswith("No round begins with so few clients")
    assert text_of(config(), connected=40).splitlines()[0].startswith("These settings work")


def test_every_setting_is_shown_with_its_origin() -> None:
    settings = plan(config()).settings
    assert [s.key for s in settings] == list(keys_of(FederationConfig))
    raised = Effective("round.min_clients", "4", "default 2; fewer would not hide each other")  # 2 is refused there
    assert {s.origin for s in settings if s != raised} == {"default"}
    assert raised in settings
    assert next(s.value for s in settings if s.key == "round.deadline") == '"10m"'
    in_the_clear = plan(config(privacy={"server_sees": "updates"})).settings
    assert Effective("round.min_clients", "2", "default") in in_the_clear


def test_settings_at_their_defaults_are_counted_unless_all_are_asked_for() -> None:
    settings = config(privacy={"server_sees": "updates"})
    for everything in (False, True):
        console = Console(width=80, file=io.StringIO())
        console.print(render(plan(settings), everything=everything))
        said = console.file.getvalue()  # type: ignore[attr-defined]
        assert ("round.min_clients" in said) is everything
        assert (" settings at their defaults: roughfed plan --all" in said) is not everything


@pytest.mark.parametrize("mode", ["updates", "sketches", "sums"])
def test_no_figure_of_a_plan_is_cut_at_80_columns(mode: str) -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(render(plan(config(privacy={"server_sees": mode}, round={"min_clients": 5}), size=62_000_000)))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    (head,) = (at for at, line in enumerate(lines) if line.startswith("with so many clients connected"))
    rows = list(itertools.takewhile(str.strip, lines[head:]))
    assert rows[0].split()[-4:] == ["5", "8", "16", "100"]
    assert max(map(len, rows)) <= 80
    figures = "  ".join(rows)
    assert "..." not in figures
    assert "…" not in figures
    assert ("3 x 16 + 4 x 13" in figures) is (mode != "updates")


def test_numbers_of_the_connected_clients() -> None:
    tables = {
        "privacy": {"server_sees": "updates"},
        "round": {"cohort": 4, "over_select": 1.5, "quorum": 0.75},
    }
    (turnout,) = plan(config(**tables), connected=10, size=1000).turnouts
    assert (turnout.invited, turnout.goal, turnout.quorum, turnout.tolerated) == (6, 4, 3, 3)
    assert (turnout.download_bytes, turnout.upload_bytes) == (24_000, 16_000)
    assert turnout.starts


def test_examples_start_where_rounds_do() -> None:
    turnouts = plan(config(round={"min_clients": 5})).turnouts
    assert [t.connected for t in turnouts] == [5, 8, 16, 100]
    assert {t.upload_bytes for t in turnouts} == {None}


def test_too_few_connected_clients_wait() -> None:
    (turnout,) = plan(config(), connected=1).turnouts
    assert not turnout.starts
    assert "waits" in text_of(config(), connected=1)


@pytest.mark.parametrize("mode", ["updates", "sketches", "sums"])
def test_a_quiet_plan_has_no_warnings(mode: str) -> None:
    assert plan(config(privacy={"server_sees": mode}), connected=10).warnings == ()


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"privacy": {"server_sees": "updates"}, "round": {"quorum": 0.1}}, "quorum is 1 update with 10 clients"),
        ({"round": {"quorum": 1.0}}, "the loss of any one of them"),
        (
            {
                "privacy": {"server_sees": "updates"},
                "round": {"cohort": 0.2, "quorum": 5, "min_clients": 5},
            },
            "With 10 clients no round counts",
        ),
        ({"round": {"time_budget": "1m"}}, 'round.time_budget = "1m" is shorter than one round.deadline = "10m"'),
        ({"round": {"early_stop_rounds": 10}}, "never applies within round.rounds = 10"),
        ({"round": {"early_stop_rounds": 2, "evaluate_every": 5}}, "a single evaluation without improvement"),
        (
            {"round": {"early_stop_rounds": 3}, "model": {"app": "my.py:client"}, "data": {}},
            "judges by what clients report",
        ),
        ({"round": {"evaluate_every": 0}}, "model.keep_best has nothing to compare"),
        ({"server": {"http_host": "0.0.0.0"}}, "opens the status page and /metrics beyond this machine"),
        ({"server": {"port": 0}}, "server.port = 0 changes at every start"),
        ({"model": {"app": "my.py:client"}}, "must take the shapes of the listed data"),
        ({"trainer": {"self_weight": True}}, "one that lies about its losses"),
        (
            {"trainer": {"calibrate": "ccvr"}, "round": {"time_budget": "1h"}},
            'round.time_budget = "1h" may end the run before its last round',
        ),
        (
            {
                "trainer": {"calibrate": "creff"},
                "privacy": {"server_sees": "updates"},
                "round": {"cohort": 3, "min_clients": 3, "quorum": 2},
            },
            "With 10 clients the sums that [trainer] asks for make no facts",
        ),
    ],
)
def test_warnings(tables: dict[str, dict[str, object]], said: str) -> None:
    assert said in warnings_of(connected=10, **tables)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_is_no_warning(host: str) -> None:
    assert warnings_of(connected=10, server={"http_host": host}) == ""


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(SettingsRefused, match=r"round\.quorum = 8 is more than round\.cohort = 5"):
        plan(config(round={"cohort": 5, "quorum": 8, "min_clients": 8}))


def test_the_words_and_what_is_not_built_are_printed() -> None:
    text = text_of(config(privacy={"server_sees": "updates"}), connected=10, size=262_144)
    assert "sees every client's whole update" in text
    assert "10 MiB" in text
    assert "[dp]" in text  # not swallowed as markup


@pytest.mark.parametrize("mode", ["updates", "sketches", "sums"])
def test_json_form_is_plain_data(mode: str) -> None:
    data = json.loads(json.dumps(plan(config(privacy={"server_sees": mode}), size=5000).as_dict()))
    assert data["size"] == 5000
    assert [t["connected"] for t in data["turnouts"]] == [2, 4, 8, 16, 100]
    assert data["refused"]["[dp]"].startswith("Differential privacy")
    assert bool(data["turnouts"][3]["groups"]) == (mode != "updates")


MASKED = ("sketches", "sums")


def masked(mode: str = "sketches", **tables: dict[str, object]) -> FederationConfig:
    return config(**{"privacy": {"server_sees": mode}, **tables})


@pytest.mark.parametrize("mode", MASKED)
def test_fewer_than_four_wait_when_masked(mode: str) -> None:
    (turnout,) = plan(masked(mode), connected=3, size=1000).turnouts
    assert (turnout.starts, turnout.groups, turnout.traffic) == (False, None, None)
    said = text_of(masked(mode), connected=3)
    assert "waits" in said
    assert "waiting: 3 of 4 clients; for fewer set privacy.server_sees to updates" in said


@given(clients=st.integers(4, 300), bits=st.sampled_from([0, 8, 16, 32]))
def test_groups_hold_everybody_and_their_sums_fit_the_lanes(clients: int, bits: int) -> None:
    found = plan(masked(codec={"lane_bits": bits}), connected=clients).turnouts[0].groups
    assert found is not None
    assert sum(found.sizes) == clients
    assert found.sizes[0] * (found.levels - 1) < 1 << found.lane_bits
    assert found.lane_bits == (bits or 8)


@given(clients=st.integers(4, 300))
def test_numbers_of_groups_agree_with_the_protocol(clients: int) -> None:
    found = plan(masked(), connected=clients).turnouts[0].groups
    assert found is not None
    for g in found.sizes:
        assert found.smallest_sum <= smallest_sum(g)
        assert g - found.may_not_answer >= threshold(g)
        assert g - found.may_be_excluded >= smallest_sum(g)
        assert g - found.may_be_lost >= max(threshold(g), smallest_sum(g))
        assert 1 <= found.may_collude <= min(colluders(g), smallest_sum(g) - 3)


@given(g=st.integers(4, 20), lost=st.floats(0, 1), excluded=st.floats(0, 1))
def test_void_shares_are_those_of_every_pattern_counted(g: int, lost: float, excluded: float) -> None:
    found = void_share([g], lost=lost, excluded=excluded)
    out, left = lost, (1 - lost) * excluded
    kept = 1 - out - left
    few_answers = few_accepted = void = 0.0
    for gone in range(g + 1):
        for away in range(g + 1 - gone):
            accepted = g - gone - away
            patterns = factorial(g) / (factorial(gone) * factorial(away) * factorial(accepted))
            chance = patterns * out**gone * left**away * kept**accepted
            few_answers += chance * (g - gone < threshold(g))
            few_accepted += chance * (accepted < smallest_sum(g))
            void += chance * (g - gone < threshold(g) or accepted < smallest_sum(g))
    assert (found.few_answers, found.few_accepted, found.void) == pytest.approx((few_answers, few_accepted, void))


def test_the_two_numbers_of_the_design() -> None:
    """Groups of 16, 10 % lost, 20 % of the others excluded: answers are short in 0.33 %, inputs in 1.6 %."""
    found = void_share([16], lost=0.1, excluded=0.2)
    assert found.few_answers == pytest.approx(0.0033, abs=5e-5)
    assert found.few_accepted == pytest.approx(0.016, abs=5e-4)
    assert max(found.few_answers, found.few_accepted) < found.void < found.few_answers + found.few_accepted


def test_several_groups_are_the_mean_of_theirs() -> None:
    alone = [void_share([g], lost=0.2).void for g in (7, 10, 13)]
    assert void_share([13, 10, 7], lost=0.2).void == pytest.approx(sum(alone) / 3)


@pytest.mark.parametrize("mode", MASKED)
@pytest.mark.parametrize("fraction", [1.0, 0.0625])
def test_bytes_of_a_masked_round_are_those_of_its_codec(mode: str, fraction: float) -> None:
    size = 1_000_000
    (t,) = plan(masked(mode, codec={"fraction": fraction}), connected=16, size=size).turnouts
    assert t.groups is not None
    assert t.traffic is not None
    params = ChainParams(size, Lanes(t.groups.lane_bits, t.groups.levels), 1.0, bytes(32), round(1 / fraction))
    codes = encode(np.zeros(size, dtype=np.float32), None, params, secret=bytes(32)).codes
    assert t.traffic.update == codes.nbytes
    assert t.traffic.model == len(quantise(np.ones(size, np.float32), np.zeros(size, np.float32)))
    assert t.upload_bytes == 16 * (t.traffic.update + t.traffic.stages_up)
    assert t.traffic.up_ratio == pytest.approx((codes.nbytes + t.traffic.stages_up) / (4 * size))
    assert t.traffic.up_ratio <= {1.0: 0.26, 0.0625: 0.065}.get(fraction, 0) + 8 * 4096 / (4 * size)


def test_sketches_cost_more_messages_than_sums() -> None:
    few, many = (plan(masked(mode), connected=16, size=10_000).turnouts[0].traffic for mode in ("sums", "sketches"))
    assert few is not None
    assert many is not None
    assert 16 * 128 < many.stages_up - few.stages_up < 16 * 128 + 1000


@pytest.mark.parametrize("name", ["identity", "fp16", "int8", "top-k"])
def test_bytes_in_the_clear_are_those_of_the_codec(name: str) -> None:
    settings = config(privacy={"server_sees": "updates"}, codec={"name": name})
    (t,) = plan(settings, connected=5, size=1000).turnouts
    assert t.traffic is not None
    assert t.traffic.update == len(CODECS[name].encode(np.ones(1000, dtype=np.float32)))
    assert (t.traffic.stages_up, t.traffic.stages_down, t.traffic.down_ratio) == (0, 0, 1.0)


@pytest.mark.parametrize(
    ("tables", "known", "said"),
    [
        ({}, {"connected": 4}, "single group of 4, without slack"),
        ({"sketch": {"dim": 512}}, {"connected": 10}, "sketch.dim = 512 is above 256"),
        ({}, {"connected": 10, "size": 1500}, "not well under the model's 1500 parameters"),
        ({"groups": {"regroup_every": 2}}, {"connected": 30}, "groups.regroup_every = 2"),
        ({"defence": {"rule": "multi-krum"}}, {"connected": 4}, "0.2 of 4 clients is less than one"),
        (
            {"defence": {"rule": "multi-krum", "f": 4}, "round": {"min_clients": 11, "quorum": 0.7}},
            {"connected": 12},
            "With 12 clients a round that ends at its quorum does not count",
        ),
        (
            {"fairness": {"rule": "q-fedavg"}, "defence": {"rule": "none"}},
            {"connected": 10},
            "takes every client's word for its loss",
        ),
        ({"clusters": {"method": "ifca", "k": 3}}, {"connected": 20}, "best: 2 bits in about 2 questions"),
        (
            {"clusters": {"method": "ifca", "k": 16, "choose_every": 1}, "round": {"rounds": 17}},
            {"connected": 20},
            "more than the 64 bits that a client tells",
        ),
        ({"clusters": {"method": "ifca"}}, {"connected": 20}, "policy.clusters = true"),
        ({"round": {"rounds": 101}}, {"connected": 10}, "12,928 numbers of its updates, and it shows 12,800"),
        ({"codec": {"lane_bits": 16}}, {"connected": 10}, "rounds to 6,554 levels, finer than a sum"),
    ],
)
def test_warnings_of_the_secure_modes(tables: dict[str, dict[str, object]], known: dict[str, int], said: str) -> None:
    assert said in " ".join(plan(masked(**tables), **known).warnings)


@pytest.mark.parametrize(
    ("tables", "known"),
    [
        ({}, {"connected": 30, "size": 100_000}),
        ({"groups": {"regroup_every": 2}}, {"connected": 20}),  # a single group stays the same anyway
        ({"defence": {"rule": "multi-krum"}}, {"connected": 10}),
    ],
)
def test_what_is_well_is_not_warned_of(tables: dict[str, dict[str, object]], known: dict[str, int]) -> None:
    assert plan(masked(**tables), **known).warnings == ()


def test_the_defence_leaves_out_its_share() -> None:
    settings = masked(defence={"rule": "multi-krum", "f": 0.29}, round={"min_clients": 12})
    assert [t.attackers for t in plan(settings, connected=100).turnouts] == [29]
    assert [t.attackers for t in plan(masked(), connected=100).turnouts] == [20]
    assert [t.attackers for t in plan(masked(defence={"rule": "none"}), connected=100).turnouts] == [0]


def test_a_rule_that_cannot_work_is_refused() -> None:
    with pytest.raises(
        SettingsRefused, match=r"\(defence\.f = 0\.4\), and with round\.min_clients = 2 rounds of 4 clients"
    ):
        plan(masked(defence={"rule": "multi-krum", "f": 0.4}), connected=10)


@pytest.mark.parametrize("fraction", [1.0, 0.0625])
def test_a_sketch_of_more_numbers_than_codes_is_refused(fraction: float) -> None:
    settings = masked(sketch={"dim": 1024}, codec={"fraction": fraction})
    assert plan(settings, connected=10, size=100_000).turnouts[0].starts
    with pytest.raises(SettingsRefused, match=r"sketch\.dim = 1024 is too much for the \d+ codes"):
        plan(settings, connected=10, size=500 if fraction == 1.0 else 10_000)


def test_a_plan_warns_by_what_clients_tell_unless_they_say_otherwise() -> None:
    assert (PolicySettings().max_choice_bits, PolicySettings().max_sketch_numbers) == (CHOICE_BITS, SKETCH_NUMBERS)


def test_each_mode_says_what_the_server_sees_and_what_is_open() -> None:
    words = {m: plan(masked(m)).server_sees for m in ("updates", *MASKED)}
    assert "whole update" in words["updates"]
    assert "128 numbers" in words["sketches"]
    assert "cannot tell a poisoned update" in words["sums"]
    text = text_of(masked(), connected=16)
    assert all(word in text for word in ("roughfed ca", "collude", "Not protected", "1 x 16", "values of a code"))
    assert plan(masked("updates")).not_protected == ()


def test_the_losses_that_fairness_asks_for_are_in_the_plan() -> None:
    found: list[int] = []
    for rule in ("none", "q-fedavg"):
        told = plan(masked(fairness={"rule": rule}), connected=8, size=100_000, shape=Shape(10)).turnouts[0].statistics
        assert told is not None
        found.append(told.usual)
    assert found[1] - found[0] == 64  # a byte for each bucket


def test_what_the_sums_cost_is_said() -> None:
    """A group of 8 has 32 levels in bytes: 20 bits of a count take 5 lanes (2^20 is one too many for 4)."""
    shape = Shape(10, 128)
    usual = plan(config(privacy={"server_sees": "sums"}), connected=8, size=100_000, shape=shape).turnouts[0].statistics
    assert usual is not None
    assert usual.most == usual.usual > 10 * 5
    tables = {"privacy": {"server_sees": "sums"}, "trainer": {"calibrate": "ccvr"}, "round": {"rounds": 7}}
    found = plan(config(**tables), connected=8, size=100_000, shape=shape).turnouts[0].statistics
    assert found is not None
    assert (found.round, set(found.names)) == (7, {"feature-count", "feature-sum", "feature-outer", "trained"})
    assert found.most - found.usual == 10 * 5 + 1280 * 6 + 8256 * 6 + 1
    console = Console(width=160, file=io.StringIO())
    console.print(render(plan(config(**tables), connected=8, size=100_000, shape=shape)))
    assert f"{found.most:,} in round 7 (feature-count" in console.file.getvalue()  # type: ignore[attr-defined]


def test_sums_that_the_model_cannot_give_are_refused() -> None:
    tables = {"privacy": {"server_sees": "sums"}, "trainer": {"calibrate": "ccvr"}}
    with pytest.raises(ConfigError, match="no matrix with a row for each class"):
        plan(config(**tables), connected=8, size=100_000, shape=Shape(10, 0))
