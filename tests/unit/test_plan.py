"""`roughfed plan`: numbers, words, warnings, refusals."""

import io
import json

import pytest
from rich.console import Console

from roughfed.config import FederationConfig, SettingsRefused
from roughfed.config.schema import keys_of
from roughfed.deploy.plan import plan, render


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


def test_every_setting_is_shown_with_its_origin() -> None:
    settings = plan(config()).settings
    assert [s.key for s in settings] == list(keys_of(FederationConfig))
    assert {s.origin for s in settings} == {"default"}
    assert next(s.value for s in settings if s.key == "round.deadline") == '"10m"'


def test_numbers_of_the_connected_clients() -> None:
    tables = {"round": {"cohort": 4, "over_select": 1.5, "quorum": 0.75}}
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


def test_a_quiet_plan_has_no_warnings() -> None:
    assert plan(config(), connected=10).warnings == ()


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"round": {"quorum": 0.1}}, "quorum is 1 update with 10 clients"),
        ({"round": {"quorum": 1.0}}, "the loss of any one of them"),
        ({"round": {"cohort": 0.2, "quorum": 5, "min_clients": 5}}, "With 10 clients no round counts"),
        ({"round": {"time_budget": "1m"}}, 'round.time_budget = "1m" is shorter than one round.deadline = "10m"'),
        ({"round": {"early_stop_rounds": 10}}, "never applies within round.rounds = 10"),
        ({"round": {"early_stop_rounds": 2, "evaluate_every": 5}}, "a single evaluation without improvement"),
        (
            {"round": {"early_stop_rounds": 3}, "model": {"app": "my.py:client"}, "data": {}},
            "judges by what clients report",
        ),
        ({"round": {"evaluate_every": 0}}, "model.keep_best has nothing to compare"),
        ({"server": {"http_host": "0.0.0.0"}}, "opens /metrics beyond this machine"),
        ({"server": {"port": 0}}, "server.port = 0 changes at every start"),
        ({"model": {"app": "my.py:client"}}, "must take the shapes of the listed data"),
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
    text = text_of(config(), connected=10, size=262_144)
    assert "sees every client's whole update" in text
    assert "10.0 MiB" in text
    assert "[defence]" in text  # not swallowed as markup


def test_json_form_is_plain_data() -> None:
    data = json.loads(json.dumps(plan(config(), size=10).as_dict()))
    assert data["size"] == 10
    assert data["turnouts"][0]["connected"] == 2
    assert data["refused"]['privacy.server_sees = "sketches"'] == "arrives with secure aggregation"
