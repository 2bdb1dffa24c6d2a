"""Tiers of clients: what a client refuses of a header, a server of an update, and both of settings."""

from pathlib import Path
from typing import Any

import pytest

from roughfed.client.policy import Rules
from roughfed.client.rules.tier_selection import check_offer, select_tier
from roughfed.config import FederationConfig, check_federation
from roughfed.config.client import PolicySettings
from roughfed.config.load import load_federation
from roughfed.config.problems import SettingsRefused
from roughfed.errors import RemoteProtocolError
from roughfed.messages import Welcome
from roughfed.server.defence.check import check_rule
from roughfed.server.uploads.admission import check_tier
from roughfed.server.uploads.payload import OpenRound
from roughfed.tiers import (
    names_of,
    tier_in_round,
)
from roughfed.types import ClientTier, Job, RoundHeader, Signed, UpdateStatement
from roughfed.wire.session import encode_header
from tests.unit.client_tiers import HEADS, SPEC, THIN, D, header


def config(**tables: Any) -> FederationConfig:
    tiers = {"tiers": {"thin": {"fraction": 0.25}, "heads": {"tensors": ["head"]}}}
    return FederationConfig.model_validate({"defence": {"rule": "none"}, "model": {"app": "a.py:c"}} | tiers | tables)


# -- what a client refuses ---------------------------------------------------------------------------------------------


def welcome(*tiers: ClientTier) -> Welcome:
    return Welcome("1", 1, "r", SPEC, b"", "updates", "classification", 3, tiers=tiers)


def rules(**more: Any) -> Rules:
    return Rules(
        PolicySettings.model_validate({"server_sees": "updates", "max_model_bytes": 1 << 30, "tier": "thin"} | more)
    )


OFFERED = (ClientTier("thin", 4), ClientTier("heads", 1, ("head", "a")))
REFUSED: dict[str, tuple[RoundHeader, dict[str, Any], str]] = {
    "its tier takes no part": (header(HEADS), {}, "class"),
    "a tier that was not offered": (header(THIN, ClientTier("x", 2, codec="identity")), {}, "class"),
    "another part than was offered": (header(ClientTier("thin", 2, codec="identity")), {}, "class"),
    "other tensors than were offered": (header(THIN, ClientTier("heads", 1, ("b.*",), codec="identity")), {}, "class"),
    "an unknown codec": (header(ClientTier("thin", 4, codec="magic")), {}, "codec"),
    "masks in a clear round": (header(ClientTier("thin", 4, codec="lanes")), {}, "codec"),
    "more bytes than it sends": (header(THIN), {"max_update_bytes": 16}, "policy"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_header_that_a_client_cannot_sit_in_is_refused(name: str) -> None:
    bad, policy, reason = REFUSED[name]
    job = Job(
        Signed(encode_header(bad), bytes(64), "s"), {}, 1, evaluate=False, train=True, model_bytes=0, seconds_left=1
    )
    with pytest.raises(RemoteProtocolError) as caught:
        select_tier(job, bad, welcome(*OFFERED), rules(**policy))
    assert caught.value.reason == reason


def test_a_client_reads_the_header_as_its_class_or_as_the_standard_one() -> None:
    job = Job(Signed(b"", bytes(64), "s"), {}, 1, evaluate=False, train=True, model_bytes=0, seconds_left=1)
    given = header(THIN)
    assert select_tier(job, given, welcome(*OFFERED), rules()).keep_one_in == 4
    fallen = select_tier(job, given, welcome(*OFFERED), rules(tier="heads", standard_if_few=True))
    assert (fallen.tier, fallen.keep_one_in) == ("", 0)
    assert names_of(given) == ("", "thin")
    with pytest.raises(RemoteProtocolError, match="takes no part"):
        tier_in_round(given, "heads", standard_if_few=False)


@pytest.mark.parametrize("offer", [(), (ClientTier("thin", 4, ("nothing",)),)])
def test_a_run_without_a_class_for_this_client_is_refused_at_the_welcome(offer: tuple[ClientTier, ...]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        check_offer(welcome(*offer), rules())
    assert caught.value.reason == "class"


# -- what the server refuses -------------------------------------------------------------------------------------------


def test_an_update_of_another_class_than_was_said_is_refused() -> None:
    statement = UpdateStatement("r", 1, "c", D, D, 8, 1, tier="thin")
    check_tier(statement, "thin")
    for known in ("", "heads"):
        with pytest.raises(RemoteProtocolError) as caught:
            check_tier(statement, known)
        assert caught.value.reason == "class"
    open_round = OpenRound("r", 1, D, 84, {}, tiers={"thin": OpenRound("r", 1, D, 20, {})})
    assert (open_round.demand("").size_bytes, open_round.demand("thin").size_bytes) == (84, 20)
    with pytest.raises(RemoteProtocolError, match="takes no part"):
        open_round.demand("heads")


CLEAR = {"privacy": {"server_sees": "updates"}}
SUMS = {"privacy": {"server_sees": "sums"}}
NONE = {"defence": {"rule": "none"}}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "twice the same": ({"tiers": {"a": {"fraction": 0.25}, "b": {"fraction": 0.25}}}, "the same as"),
    "like everybody": ({"tiers": {"a": {}}}, "the same as the standard tier"),
    "no such part": ({"tiers": {"a": {"fraction": 0.3}}}, "cannot be sent"),
    "nobody sends all": ({"tiers": {"a": {"fraction": 0.25}}, "codec": {"fraction": 0.5}}, "nobody sends all"),
    "a sketch without sketches": ({"tiers": {"a": {"fraction": 0.5, "sketch_dim": 64}}, **SUMS}, "no effect"),
    "scaffold": ({"trainer": {"method": "scaffold"}}, "scaffold"),
    "fednova and tensors": ({"aggregate": {"scaling": "fednova"}}, "fednova"),
    "creff and tensors": ({"trainer": {"calibrate": "creff"}}, "creff"),
    "free riders by angles": ({"contribution": {"free_riders": "flag"}}, "free_riders"),
    "scores of whole updates": (
        {"contribution": {"method": "cgsv"}, **CLEAR, **NONE}, "whole updates",
    ),
    "a coordinate-wise rule": ({**CLEAR, "defence": {"rule": "median"}}, "each coordinate"),
    "a rule that weighs": ({**CLEAR, "defence": {"rule": "geometric-median"}}, "weights itself"),
    "top-k beside": (
        {**CLEAR, "codec": {"name": "top-k"}, **NONE}, "no whole mean",
    ),
    "too many": ({"tiers": {f"c{at}": {"tensors": [f"t{at}"]} for at in range(9)}}, "9 tiers"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_settings_that_classes_cannot_stand_beside_are_refused(name: str) -> None:
    tables, said = BAD[name]
    with pytest.raises(SettingsRefused, match=said):
        check_both(config(**tables))


def check_both(found: FederationConfig) -> None:
    check_federation(found)
    check_rule(found)


def test_good_classes_are_taken() -> None:
    check_both(config())
    check_both(config(privacy={"server_sees": "updates"}))


FILES = {
    "[tiers.thin]\nfraction = 0.25\n[tiers.heads]\ntensors = ['head.*']\n": "",
    "[tiers.thin]\nfraction = 'much'\n": "tiers.thin.fraction",
    "[tiers.thin]\nfracton = 0.5\n": "tiers.thin.fracton",
    "[tiers.Thin]\nfraction = 0.5\n": "tiers.Thin",
    "[tiers]\nthin = 3\n": "tiers.thin",
}


@pytest.mark.parametrize("text", FILES)
def test_classes_are_read_from_the_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "fed.toml").write_text(f"[model]\napp = 'a.py:c'\n{text}")
    if not FILES[text]:
        found = load_federation(tmp_path, {})
        assert {name: (one.fraction, one.tensors) for name, one in found.tiers.items()} == {
            "thin": (0.25, ()), "heads": (1.0, ("head.*",)),
        }  # fmt: skip
        assert found.origin("tiers.thin").line == 3
        return
    with pytest.raises(SettingsRefused) as caught:
        load_federation(tmp_path, {})
    assert [problem.key for problem in caught.value.problems] == [FILES[text]]
