"""Every fenced block of the documents is run, checked by a tool, or says why not; every command in them exists."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main
import yaml

from roughfed.config import check_client, check_federation, load_client, load_federation
from roughfed.deploy.cli.app import build
from roughfed.server.defence.check import check_rule
from tests.bench.__main__ import build as benches
from tests.unit.documents import ROOT, Block, blocks, commands, spans

LANGUAGES = ("sh", "toml", "python", "json", "yaml", "text", "ini", "promql")
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
PROGRAM = typer.main.get_command(build())
BENCHES = typer.main.get_command(benches())
LISTED = {"model": 'model.name = "mlp"\n', "data": 'data.name = "digits"\n'}
"""What a part of a settings file needs beside it, unless it says so itself."""

OURS = r"(\w+=\S*\s+)*(roughfed\b|make\b|python -m tests\.bench\b)"

BLOCKS = blocks()
SPANS = [(place, line) for place, line in spans() if "\\0" not in line]


def command_of(words: list[str]) -> tuple[object, list[str]]:
    """(the command that the first words name, the words after it)."""
    found, rest = (BENCHES, words[2:]) if words[:2] == ["-m", "tests.bench"] else (PROGRAM, list(words))
    while (inner := getattr(found, "commands", None)) is not None and rest and rest[0] in inner:
        found = inner[rest.pop(0)]
    return found, rest


def words_of(line: str) -> list[str]:
    """The words after `roughfed` or `python`; what is set for the command before it is left out."""
    words = shlex.split(line)
    while "=" in words[0]:
        words.pop(0)
    return words[1:]


def parses(line: str) -> None:
    """Take a command line apart as the program would; nothing is run."""
    if (words := words_of(line)) in (["--help"], ["--version"]):
        return
    found, rest = command_of(words)
    assert found not in (PROGRAM, BENCHES), f"there is no command {line!r}"
    if "--help" not in rest:
        found.make_context("roughfed", rest)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.place)
def test_a_block_has_a_language_and_a_mark_that_is_true(block: Block) -> None:
    assert block.language in LANGUAGES, f"{block.place}: which language? plain words and output are text"
    if block.mark == "run":
        for test in block.about.split(", "):
            path, _, name = test.partition("::")
            assert f"def {name}" in (ROOT / path).read_text(), test


@pytest.mark.parametrize("block", blocks("sh"), ids=lambda b: b.place)
def test_a_shell_block_is_ours_or_says_what_it_is(block: Block) -> None:
    """Lines of roughfed, make and the benchmarks must be right; where there are others, the block is marked."""
    others = [line for line in commands(block) if not re.match(OURS, line)]
    for line in commands(block):
        if line in others:
            continue
        if re.match(r"(\w+=\S*\s+)*make\b", line):
            assert set(re.findall(r"\bmake ([a-z0-9-]+)", line)) <= TARGETS
        else:
            parses(line)
    assert block.mark or not others, f"{block.place}: what of {others}? Mark the block"


@pytest.mark.parametrize(("place", "line"), SPANS, ids=[f"{place} {line}"[:70] for place, line in SPANS])
def test_a_command_in_running_text_exists_with_its_flags(place: str, line: str) -> None:
    words = [word.strip("[]|,") for word in re.sub(r"^(\w+=\S+ )+", "", line).split()[1:]]
    found, rest = command_of(words)
    if found in (PROGRAM, BENCHES):
        assert rest[0] in ("COMMAND", "NAME", "--version", "--help"), f"{place}: there is no command {line!r}"
        return
    known = {flag for each in found.params for flag in each.opts}  # pyright: ignore[reportAttributeAccessIssue]
    assert {word.split("=")[0] for word in rest if word.startswith("-") and len(word) > 1} <= known | {"--help"}


@pytest.mark.parametrize("block", [b for b in blocks("toml") if not b.mark], ids=lambda b: b.place)
def test_settings_are_accepted_as_they_stand(block: Block, tmp_path: Path) -> None:
    """A block is a part of a fed.toml, or of a client.toml where its first comment says so."""
    given = tomllib.loads(block.text)
    text = "".join(line for table, line in LISTED.items() if table not in given) + block.text
    if block.text.startswith("# client.toml"):
        (tmp_path / "client.toml").write_text(text)
        check_client(load_client(tmp_path, {}))
        return
    (tmp_path / "fed.toml").write_text(text)
    config = load_federation(tmp_path, {})
    check_federation(config)
    check_rule(config)


@pytest.mark.parametrize("block", [b for b in blocks("python") if b.mark != "not run"], ids=lambda b: b.place)
def test_code_is_run_by_a_test(block: Block) -> None:
    assert block.mark == "run", f"{block.place}: name the test that runs it"
    compile(block.text, block.place, "exec")


def test_json_and_yaml_can_be_read() -> None:
    for block in blocks("json"):
        assert isinstance(json.loads(block.text), dict | list), block.place
    for block in blocks("yaml"):
        assert isinstance(yaml.safe_load(block.text), dict | list), block.place
