"""Loading: file, environment, flags, origins; templates; the generated reference."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.config import (
    ClientConfig,
    FederationConfig,
    SettingsRefused,
    load_client,
    load_federation,
    write_template,
)
from roughfed.config.reference import reference
from roughfed.config.schema import keys_of
from roughfed.config.values import Document, ServerSees, duration_text, seconds, size_bytes, size_text
from roughfed.errors import ConfigError, NotBuiltYet

ROOT = Path(__file__).parents[4]
loaders = {FederationConfig: load_federation, ClientConfig: load_client}


def write(folder: Path, text: str, name: str = "fed.toml") -> Path:
    (folder / name).write_text(text)
    return folder


def test_what_kubernetes_sets_for_a_service_is_no_slip(tmp_path: Path) -> None:
    (tmp_path / "fed.toml").touch()
    env = {"ROUGHFED_SERVER_PORT": "tcp://10.0.0.1:8443", "ROUGHFED_SERVER_SERVICE_HOST": "10.0.0.1"}
    assert load_federation(tmp_path, env).server.port == 8443


def test_flags_beat_the_environment_beats_the_file(tmp_path: Path) -> None:
    write(tmp_path, '[round]\nrounds = 3\ndeadline = "1m"\ncohort = 5\n')
    env = {"ROUGHFED_ROUND__DEADLINE": "2h", "ROUGHFED_ROUND__COHORT": "0.5", "PATH": "/bin"}

    config = load_federation(tmp_path, env, overrides={"round.cohort": "7"})

    assert (config.round.rounds, config.round.deadline, config.round.cohort) == (3, 7200.0, 7)
    assert str(config.origin("round.rounds")) == f"{tmp_path / 'fed.toml'}:2"
    assert str(config.origin("round.deadline")) == "ROUGHFED_ROUND__DEADLINE"
    assert str(config.origin("round.cohort")) == "--round.cohort"
    assert str(config.origin("round.quorum")) == "default"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("server.http", "false", False),
        ("server.http", "True", True),
        ("server.drain_s", "5", 5.0),
        ("server.address", "[::1]:8443", "[::1]:8443"),
        ("federation.name", "3", "3"),
        ("round.quorum", "1.0", 1.0),
        ("round.quorum", "3", 3),
        ("round.deadline", "90", 90.0),
        ("round.time_budget", "", 0.0),
        ("model.app", "my model.py:client", "my model.py:client"),
        ("trainer.lr", "1e-3", 1e-3),
        ("codec.lane_bits", "16", 16),
        ("codec.fraction", "0.25", 0.25),
        ("privacy.server_sees", "sums", "sums"),
    ],
)
def test_text_becomes_the_type_of_the_key(tmp_path: Path, key: str, text: str, value: object) -> None:
    write(tmp_path, "")
    config = load_federation(tmp_path, {}, overrides={key: text})
    table, name = key.split(".")
    got = getattr(getattr(config, table), name)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize("text", ["head.*,body", '["head.*", "body"]', " head.* , body "])
def test_lists_from_text(tmp_path: Path, text: str) -> None:
    write(tmp_path, "")
    assert load_federation(tmp_path, {"ROUGHFED_MODEL__PRIVATE": text}).model.private == ("head.*", "body")


@pytest.mark.parametrize("text", ['["sums"]', '["updates", "sketches", "sums"]', '"updates"'])
def test_a_dropped_key_names_what_took_its_place(tmp_path: Path, text: str) -> None:
    write(tmp_path, f"[policy]\naccept_server_sees = {text}\n", "client.toml")
    with pytest.raises(SettingsRefused) as caught:
        load_client(tmp_path, {})
    (problem,) = caught.value.problems
    assert (problem.key, problem.origin.line) == ("policy.accept_server_sees", 2)
    assert "policy.server_sees took its place" in problem.cause
    assert "roughfed join --accept updates" in problem.cure
    write(tmp_path, "", "client.toml")
    assert load_client(tmp_path, {}).policy.server_sees == "sketches"
    with pytest.raises(SettingsRefused, match=r"policy\.server_sees took its place"):
        load_client(tmp_path, {"ROUGHFED_POLICY__ACCEPT_SERVER_SEES": text})


@pytest.mark.parametrize("text", ["1\nrounds = 2", "one", "2.5", "", "1 # one more", "0x"])
def test_text_that_is_no_value_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, "")
    if text.startswith("1 #"):  # a comment is TOML
        assert load_federation(tmp_path, {}, overrides={"round.rounds": text}).round.rounds == 1
        return
    with pytest.raises(ConfigError, match=r"--round\.rounds"):
        load_federation(tmp_path, {}, overrides={"round.rounds": text})


def test_unknown_variables_are_refused_and_others_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "")
    harmless = {
        "ROUGHFED_JOIN": "x",
        "ROUGHFED_CRASH_AT": "x",
        "ROUGHFED_DEBUG": "1",
        "OTHER__X": "1",
        "ROUGHFED_DEVICE__THREADS": "not for the server",
    }
    assert load_federation(tmp_path, harmless).model_dump() == FederationConfig().model_dump()
    with pytest.raises(SettingsRefused) as caught:
        load_federation(tmp_path, {"ROUGHFED_ROUND__DEDLINE": "3"})
    assert caught.value.file == "ROUGHFED_ROUND__DEDLINE"
    assert "Did you mean ROUGHFED_ROUND__DEADLINE?" in caught.value.cure
    with pytest.raises(NotBuiltYet, match="ROUGHFED_PRIVACY__DP"):
        load_federation(tmp_path, {"ROUGHFED_PRIVACY__DP": "true"})


def test_unknown_flag(tmp_path: Path) -> None:
    with pytest.raises(SettingsRefused) as caught:
        load_federation(write(tmp_path, ""), {}, overrides={"rond.rounds": "1"})
    assert (caught.value.key, caught.value.file) == ("rond.rounds", "--rond.rounds")
    assert "Did you mean round.rounds?" in caught.value.cure


@pytest.mark.parametrize("model", [FederationConfig, ClientConfig])
def test_template_loads_back_to_the_defaults(tmp_path: Path, model: type[Document]) -> None:
    path = write_template(tmp_path, model)
    assert loaders[model](tmp_path, {}) == model()
    commented = path.read_text().replace("\n# ", "\n")
    assert all(f"\n{key.name} = {key.default}\n" in commented for key in keys_of(model).values())


@pytest.mark.parametrize("model", [FederationConfig, ClientConfig])
def test_template_with_every_default_written_out_is_the_same(tmp_path: Path, model: type[Document]) -> None:
    defaults = {f"{t}.{k}": v for t, table in model().model_dump().items() for k, v in table.items()}
    write_template(tmp_path, model, values=defaults)
    config = loaders[model](tmp_path, {})
    assert config.model_dump() == model().model_dump()
    assert all(config.origin(key).kind == "file" for key in defaults)


def test_template_keeps_given_values_and_odd_text(tmp_path: Path) -> None:
    odd = 'C:\\x "y" \n é'
    values = {"client.name": "a-1", "data.data_dir": odd, "policy.max_model_bytes": 3 << 20, "device.threads": 2}
    write_template(tmp_path, ClientConfig, values=values)
    config = load_client(tmp_path, {})
    assert config.data.data_dir == odd
    assert (config.client.name, config.policy.max_model_bytes, config.device.threads) == ("a-1", 3 << 20, 2)


def test_template_refuses_bad_values_and_existing_files(tmp_path: Path) -> None:
    with pytest.raises(SettingsRefused, match="is not a name"):
        write_template(tmp_path, ClientConfig, values={"client.name": "A B"})
    assert not list(tmp_path.iterdir())
    write_template(tmp_path, ClientConfig)
    with pytest.raises(ConfigError, match="exists"):
        write_template(tmp_path, ClientConfig)
    with pytest.raises(ConfigError, match="cannot be written"):
        write_template(tmp_path / "absent", ClientConfig)


def test_the_reference_is_up_to_date() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m roughfed.config.reference > docs/configuration.md"


@pytest.mark.parametrize(
    ("model", "key"), [(model, key) for model in (FederationConfig, ClientConfig) for key in keys_of(model)]
)
def test_every_key_has_a_meaning_and_a_default_that_loads(model: type[Document], key: str, tmp_path: Path) -> None:
    row = keys_of(model)[key]
    write(tmp_path, f"[{row.table}]\n{row.name} = {row.default}\n", model.FILE)
    assert row.meaning.endswith(".")
    assert loaders[model](tmp_path, {}).model_dump() == model().model_dump()


def test_names_agree_with_the_rooms_that_hold_them() -> None:
    from roughfed.config.aggregation import LEARNING_RATES, OPTIONS
    from roughfed.data import SOURCES
    from roughfed.data.partition import PARTITIONERS
    from roughfed.data.roughness import NOISE_KINDS, ORDERS, SCENARIOS, Roughness
    from roughfed.models import MODELS
    from roughfed.server.aggregate import WEIGHTINGS
    from roughfed.server.optimize import RULES

    federation, client = keys_of(FederationConfig), keys_of(ClientConfig)
    for keys in (federation, client):
        assert set(keys["data.name"].choices) == {"", *SOURCES}
        assert set(keys["model.name"].choices) == {"", *MODELS}
    assert set(client["data.partition"].choices) == set(PARTITIONERS)
    assert client["data.scenario"].choices == tuple(SCENARIOS)
    assert client["data.class_order"].choices == ORDERS
    assert client["data.noise_kind"].choices == NOISE_KINDS
    assert client["data.rounds_per_task"].field.default == Roughness().rounds_per_task
    assert set(federation["aggregate.weighting"].choices) == {"auto", *WEIGHTINGS}
    assert set(federation["optimize.rule"].choices) == set(RULES) == set(OPTIONS) == set(LEARNING_RATES)
    options = {key.name for key in federation.values() if key.table == "optimize"} - {"rule", "lr"}
    assert options == {name for names in OPTIONS.values() for name in names}


def test_learning_names_agree_with_the_trainer() -> None:
    from roughfed.client.trainer.settings import CALIBRATIONS, OPTIMIZERS, PRIORS, SCHEDULES

    keys = keys_of(FederationConfig)
    assert set(keys["trainer.optimizer"].choices) == set(OPTIMIZERS)
    assert set(keys["trainer.schedule"].choices) == set(SCHEDULES)
    assert set(keys["trainer.prior"].choices) == set(PRIORS)
    assert set(keys["trainer.calibrate"].choices) == set(CALIBRATIONS)


def test_what_is_planned_is_no_choice_yet() -> None:
    from roughfed.config.planned import KEYS, TABLES

    keys = {**keys_of(ClientConfig), **keys_of(FederationConfig)}
    tables = {key.table for key in keys.values()}
    assert not tables & set(TABLES)
    assert not {dotted for dotted in KEYS if dotted in keys or dotted in {key.name for key in keys.values()}}


def test_names_of_the_secure_modes_agree_with_their_rooms() -> None:
    from roughfed.codec import CHAIN, CODECS
    from roughfed.codec.plan import BITS
    from roughfed.masked_round import MAX_DIM, MAX_EPOCH

    keys = keys_of(FederationConfig)
    assert set(keys["privacy.server_sees"].choices) == set(get_args(ServerSees))
    assert set(keys["codec.name"].choices) == {"auto", CHAIN, *CODECS}
    assert keys["codec.lane_bits"].choices == (0, *BITS)
    assert keys["sketch.dim"].noun.endswith(f"to {MAX_DIM}")
    assert keys["groups.regroup_every"].noun.endswith(f"to {MAX_EPOCH}")


@given(st.one_of(st.integers(0, 10**9).map(float), st.floats(0, 1e6).map(lambda s: round(s, 3))))
def test_durations_survive_their_text(value: float) -> None:
    assert seconds(duration_text(value).strip('"')) == pytest.approx(value)


@given(st.integers(1, 1 << 60))
def test_sizes_survive_their_text(value: int) -> None:
    assert size_bytes(size_text(value).strip('"')) == value


def test_import_is_light() -> None:
    code = (
        "import time; start = time.process_time(); import roughfed.config; spent = time.process_time() - start\n"
        "import sys; print(spent, *{'torch', 'grpc', 'numpy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    spent, *heavy = done.stdout.split()
    assert not heavy
    assert float(spent) < 1.0  # 0.15 s on a calm machine


@pytest.mark.parametrize("text", ["0", "-1 B", "9999999 TiB", "1 PB", "1.5 GiB", ""])
def test_sizes_that_are_none(tmp_path: Path, text: str) -> None:
    write(tmp_path, "", "client.toml")
    with pytest.raises(ConfigError, match="is not a size"):
        load_client(tmp_path, {}, overrides={"policy.max_model_bytes": text})


OLD_NAMES = {
    "a table": (
        "fed.toml",
        "[classes.thin]\nfraction = 0.25\n",
        "classes.thin",
        lambda c: c.tiers["thin"].fraction == 0.25,
    ),
    "a key of a table": (
        "fed.toml",
        "[reward]\ntiers = [0.5, 1.0]\n",
        "reward.tiers",
        lambda c: c.reward.levels == (0.5, 1.0),
    ),
    "a client's": (
        "client.toml",
        '[policy]\nclient_class = "thin"\n',
        "policy.client_class",
        lambda c: c.policy.tier == "thin",
    ),
}


@pytest.mark.parametrize("case", OLD_NAMES)
def test_old_names_are_read_and_warned_of(case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    name, text, old, value = OLD_NAMES[case]
    load = load_federation if name == "fed.toml" else load_client
    assert value(load(write(tmp_path, text, name), {}))
    (line,) = caplog.messages
    assert old in line
    assert "0.3" in line
    assert f"{name}:" in line


def test_old_names_are_read_from_the_environment_and_from_flags(tmp_path: Path) -> None:
    env = {"ROUGHFED_POLICY__CLIENT_CLASS": "thin"}
    assert load_client(write(tmp_path, "", "client.toml"), env).policy.tier == "thin"
    assert load_federation(write(tmp_path, "", "fed.toml"), env).tiers == {}
    flags = {"reward.tiers": "[0.5, 1.0]"}
    assert load_federation(tmp_path, {}, overrides=flags).reward.levels == (0.5, 1.0)


@pytest.mark.parametrize("keys", [("tiers", "levels"), ("levels", "tiers")])
def test_an_old_name_beside_the_new_one_is_refused(keys: tuple[str, str], tmp_path: Path) -> None:
    text = "".join(f"{key} = [1.0]\n" for key in keys)
    with pytest.raises(ConfigError, match=r"reward\.levels is written twice"):
        load_federation(write(tmp_path, f"[reward]\n{text}"), {})
