"""The settings themselves: numbers of a round, and whose learning settings win."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from roughfed.client.local.learning_settings import LearningSettings
from roughfed.config import ClientConfig, FederationConfig, effective_trainer
from roughfed.config.client import ClientTrainer, OwnApp
from roughfed.config.federation import RoundSettings
from roughfed.config.participate import Limits
from roughfed.config.trainer import TrainerSettings
from roughfed.errors import ConfigError, RemoteProtocolError


@pytest.mark.parametrize(
    ("settings", "connected", "goal", "invited", "needed"),
    [
        ({}, 5, 5, 5, 4),
        ({"cohort": 0.1, "quorum": 1.0}, 30, 3, 3, 3),  # 0.1 * 30 is a little more than 3 in floats
        ({"cohort": 0.1, "quorum": 1.0}, 31, 4, 4, 4),
        ({"cohort": 4, "over_select": 1.3}, 10, 4, 6, 4),
        ({"cohort": 4, "over_select": 1.3}, 5, 4, 5, 4),
        ({"cohort": 4, "over_select": 2.0, "quorum": 3}, 3, 3, 3, 3),
        ({"quorum": 1}, 8, 8, 8, 1),
        ({"quorum": 1.0}, 8, 8, 8, 8),
        ({"cohort": 0.2, "quorum": 5, "min_clients": 5}, 10, 2, 2, 5),
    ],
)
def test_numbers_of_a_round(settings: dict[str, float], connected: int, goal: int, invited: int, needed: int) -> None:
    r = RoundSettings.model_validate(settings)
    assert (r.goal(connected), r.invited(connected), r.needed(goal)) == (goal, invited, needed)


@given(
    n=st.integers(1, 500),
    cohort=st.one_of(st.integers(0, 600), st.floats(0.001, 0.999)),
    over_select=st.floats(1, 2),
    quorum=st.floats(0.001, 1.0),
)
def test_a_round_asks_no_more_than_are_there_and_needs_no_more_than_it_wants(n, cohort, over_select, quorum) -> None:
    r = RoundSettings(cohort=cohort, over_select=over_select, quorum=quorum)
    assert 1 <= r.needed(r.goal(n)) <= r.goal(n) <= r.invited(n) <= n


def federation(**tables: dict[str, object]) -> FederationConfig:
    return FederationConfig.model_validate(tables)


MASKED = st.sampled_from(["sketches", "sums"])


@given(mode=MASKED, cohort=st.one_of(st.integers(4, 50), st.floats(0.001, 0.999), st.just(0)), least=st.integers(1, 30))
def test_a_masked_round_starts_when_it_can_want_four_and_no_later(mode, cohort, least) -> None:
    config = federation(privacy={"server_sees": mode}, round={"cohort": cohort, "min_clients": least})
    needed = config.clients_to_start
    assert needed >= least
    assert config.round.goal(needed) >= 4
    assert needed == least or needed == 1 or config.round.goal(needed - 1) < 4


@given(cohort=st.one_of(st.integers(0, 50), st.floats(0.001, 0.999)), least=st.integers(1, 30))
def test_in_the_clear_the_setting_is_all_that_counts(cohort, least) -> None:
    config = federation(privacy={"server_sees": "updates"}, round={"cohort": cohort, "min_clients": least})
    assert config.clients_to_start == least
    assert config.waiting(0) == f"waiting: 0 of {least} clients"


def test_a_wait_for_the_sake_of_the_masks_says_the_way_out() -> None:
    config = federation(privacy={"server_sees": "sketches"})
    assert config.waiting(1) == "waiting: 1 of 4 clients; for fewer set privacy.server_sees to updates"
    many = federation(privacy={"server_sees": "sketches"}, round={"min_clients": 8})
    assert many.waiting(5) == "waiting: 5 of 8 clients"


@pytest.mark.parametrize("mode", ["updates", "sketches", "sums"])
def test_auto_settings_fit_the_mode(mode: str) -> None:
    config = federation(privacy={"server_sees": mode})
    masked = mode != "updates"
    assert config.privacy.masked == masked
    assert config.aggregate.weighting_of(mode) == ("uniform" if masked else "examples")
    assert config.codec.uplink(mode) == ("lanes" if masked else "identity")
    assert config.codec.downlink_of(mode) == ("int8" if masked else "identity")


@pytest.mark.parametrize("mode", ["updates", "sketches", "sums"])
def test_what_is_written_beats_auto(mode: str) -> None:
    config = federation(aggregate={"weighting": "uniform"}, codec={"name": "int8", "downlink": "int8"})
    assert config.aggregate.weighting_of(mode) == "uniform"
    assert (config.codec.uplink(mode), config.codec.downlink_of(mode)) == ("int8", "int8")


def test_settings_are_frozen_and_closed() -> None:
    config = FederationConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.round.rounds = 3  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValidationError):
        RoundSettings(rouns=3)  # pyright: ignore[reportCallIssue]


def test_the_job_wins() -> None:
    got = effective_trainer({"lr": 0.2, "epochs": 3}, ClientConfig())
    assert got == TrainerSettings(lr=0.2, epochs=3).model_dump()


def test_local_settings_win_where_they_are_written() -> None:
    mine = ClientConfig(trainer=ClientTrainer(local=True, lr=0.01))
    got = effective_trainer({"lr": 0.2, "epochs": 3}, mine)
    assert got == TrainerSettings(lr=0.01, epochs=3).model_dump()


def test_the_apps_settings_stand_between_the_file_and_the_job() -> None:
    app = {"lr": 0.5, "momentum": 0.0}
    mine = ClientConfig(trainer=ClientTrainer(local=True, lr=0.01))
    got = effective_trainer({"lr": 0.2, "epochs": 3}, mine, app_settings=app)
    assert got == TrainerSettings(lr=0.01, epochs=3, momentum=0.0).model_dump()
    assert effective_trainer({"lr": 0.2}, ClientConfig(), app_settings=app)["lr"] == 0.2


def test_without_local_they_do_not() -> None:
    mine = ClientConfig(trainer=ClientTrainer(lr=0.01))
    assert effective_trainer({"lr": 0.2}, mine)["lr"] == 0.2


@pytest.mark.parametrize(
    ("app", "key", "words"),
    [
        ({"lr": 0.1}, "lr", "gives lr, and"),
        ({"method": "gce"}, "trainer", "gives trainer, and"),
        ({"momentum": 0.0, "epochs": 3}, "epochs", "gives epochs, momentum, and"),
    ],
)
def test_an_app_with_settings_that_would_not_count_is_refused(app: dict[str, object], key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        LearningSettings(ClientConfig(app=OwnApp(path="my.py:client")), app)
    assert (caught.value.file, caught.value.key) == ("my.py:client", key)
    assert "local = true" in caught.value.cure
    assert ("trainer.method" if key == "trainer" else f"trainer.{key}") in caught.value.cure
    LearningSettings(ClientConfig(), {})


def test_an_app_with_settings_that_count_is_taken() -> None:
    mine = LearningSettings(ClientConfig(trainer=ClientTrainer(local=True)), {"lr": 0.1})
    assert mine({"lr": 0.2})["lr"] == 0.1


def test_the_servers_settings_travel_whole() -> None:
    sent = FederationConfig(trainer=TrainerSettings(lr=0.3, batch_size=8)).trainer.model_dump()
    assert effective_trainer(sent, ClientConfig()) == sent


@pytest.mark.parametrize(
    ("job", "said"),
    [({"sampler": "x"}, "trainer.sampler: It is not a setting."), ({"lr": -1}, "trainer.lr: -1 is too small.")],
)
def test_a_bad_job_is_refused(job: dict[str, object], said: str) -> None:
    with pytest.raises(RemoteProtocolError, match=said) as caught:
        effective_trainer(job, ClientConfig())
    assert caught.value.reason == "job"


LIMITS = [
    ({}, {"epochs": 5, "batch_size": 64, "max_steps": 0}, {}),
    ({"epochs": 2}, {"epochs": 5, "batch_size": 64, "max_steps": 0}, {"epochs": 2}),
    ({"epochs": 9, "batch_size": 64, "max_steps": 10}, {"epochs": 5, "batch_size": 64, "max_steps": 7}, {}),
    ({"batch_size": 8, "max_steps": 10}, {"epochs": 5, "batch_size": 8, "max_steps": 0}, {"max_steps": 10}),
    ({"batch_size": 8}, {"epochs": 5, "batch_size": 64, "max_steps": 0}, {"batch_size": 8}),
    ({"max_steps": 10}, {"epochs": 5, "batch_size": 64, "max_steps": 11}, {"max_steps": 10}),
]


@pytest.mark.parametrize(("limits", "asked", "lowered"), LIMITS)
def test_limits_lower_what_is_above_them_and_touch_nothing_else(limits, asked, lowered, caplog) -> None:
    config = ClientConfig(limits=Limits(**limits))
    settings = LearningSettings(config, {})
    job = {**asked, "lr": 0.2, "method": "fedprox(mu=0.5)"}
    with caplog.at_level("INFO"):
        got = settings(job)
        assert settings(job) == got
    assert got == TrainerSettings(**job).model_dump() | lowered
    assert len(caplog.records) == bool(lowered)  # said once
    assert all(name in caplog.text for name in lowered)


def test_limits_hold_for_own_settings_as_well() -> None:
    config = ClientConfig(trainer=ClientTrainer(local=True, epochs=9, lr=0.01), limits=Limits(epochs=3))
    got = LearningSettings(config, {"batch_size": 4})({"epochs": 2, "batch_size": 64})
    assert (got["epochs"], got["batch_size"], got["lr"]) == (3, 4, 0.01)
