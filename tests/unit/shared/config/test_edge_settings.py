"""fed.toml of an edge: what the federation above decides cannot stand there."""

from __future__ import annotations

from pathlib import Path

import pytest

from roughfed.config.edge import ABOVE, OURS, check_edge, edge_conflicts
from roughfed.config.federation import FederationConfig
from roughfed.config.load import load_federation
from roughfed.config.problems import SettingsRefused
from roughfed.deploy.cli.command import CommandContext
from roughfed.deploy.cli.edge import check, check_flags, line_of
from roughfed.errors import ConfigError

SAID: dict[str, str] = {
    "codec.downlink": '[codec]\ndownlink = "int8"',
    "clusters.method": '[clusters]\nmethod = "ifca"\nk = 2',
    "defence.rollback": "[defence]\nrollback = 0.1",
    "model.init": '[model]\ninit = "start.safetensors"\nname = "mlp"',
    "model.frozen": '[model]\nfrozen = ["body.*"]',
    "model.adapters": "[model]\nadapters = 4",
    "optimize.rule": '[optimize]\nrule = "fedadam"',
    "optimize.lr": "[optimize]\nlr = 0.5",
    "round.early_stop_rounds": "[round]\nearly_stop_rounds = 3",
    "round.time_budget": '[round]\ntime_budget = "1h"',
}
"""Each key as an operator would write it."""


def written(folder: Path, text: str) -> FederationConfig:
    (folder / "fed.toml").write_text(text)
    (folder / "start.safetensors").write_bytes(b"")
    return load_federation(folder, {})


def test_every_key_is_tried() -> None:
    assert SAID.keys() == OURS.keys()


@pytest.mark.parametrize("key", OURS)
def test_what_only_the_top_can_have_is_refused_with_place_key_cause_and_cure(tmp_path: Path, key: str) -> None:
    with pytest.raises(SettingsRefused) as told:
        check_edge(written(tmp_path, SAID[key]))
    (problem,) = told.value.problems
    assert (Path(problem.origin.where).name, problem.origin.line, problem.key) == ("fed.toml", 2, key)
    assert problem.cause.startswith(f"{ABOVE}: {key} = ")
    assert OURS[key] in problem.cure


def test_what_is_the_federations_above_may_stand_there_for_one_file_for_all(tmp_path: Path) -> None:
    text = '[trainer]\nlr = 0.5\n[round]\nrounds = 77\n[optimize]\nrule = "fedavg"\n[codec]\ndownlink = "identity"'
    assert list(edge_conflicts(written(tmp_path, text))) == []


def test_a_file_alone_says_which_tensors_there_are(tmp_path: Path) -> None:
    assert list(edge_conflicts(written(tmp_path, '[model]\ninit = "start.safetensors"'))) == []


def test_all_of_them_are_said_at_once(tmp_path: Path) -> None:
    text = '[optimize]\nlr = 0.5\n[round]\nearly_stop_rounds = 3\ntime_budget = "1h"'
    with pytest.raises(SettingsRefused) as told:
        check_edge(written(tmp_path, text))
    keys = {problem.key for problem in told.value.problems}
    assert keys == {"optimize.lr", "round.early_stop_rounds", "round.time_budget"}


def test_a_line_that_is_none_is_said_to_be_in_the_variable_of_an_edge() -> None:
    with pytest.raises(ConfigError, match="no '#'") as told:
        line_of("garbage")
    assert told.value.key == "ROUGHFED_UPSTREAM"
    assert "--edge" in told.value.cure


@pytest.mark.parametrize("key", ["round.rounds", "trainer.lr"])
def test_a_flag_for_what_the_top_decides_is_refused_and_a_file_for_all_is_not(tmp_path: Path, key: str) -> None:
    written(tmp_path, "[round]\nrounds = 7\n[trainer]\nlr = 0.5")
    check_flags(load_federation(tmp_path, {}))
    with pytest.raises(ConfigError, match="no effect") as told:
        check_flags(load_federation(tmp_path, {}, overrides={key: "3"}))
    assert told.value.key == f"--{key}"


def test_a_line_to_a_federation_above_needs_the_word_that_this_is_an_edge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, context = written(tmp_path, ""), CommandContext(tmp_path)
    check(context, config, upstream=False)
    monkeypatch.setenv("ROUGHFED_UPSTREAM", "fed.example.org:8444#...")
    with pytest.raises(ConfigError, match="not told to be an edge") as told:
        check(context, config, upstream=False)
    assert told.value.key == "ROUGHFED_UPSTREAM"
    check(context, config, upstream=True)
