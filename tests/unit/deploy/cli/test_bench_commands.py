"""`python -m tests.bench`: the fields of a benchmark's options are its flags, its result goes where it is to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import pytest
import typer
import typer.main

from roughfed.deploy.cli.app import UsageError
from roughfed.errors import ConfigError
from tests.bench.__main__ import BENCHES, build, main
from tests.bench.command import Benchmark, Result, Seeds, names, numbers, register
from tests.unit.documents import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = sorted((ROOT / "tests" / "bench" / "results").glob("*.json"))


@dataclass(frozen=True, slots=True)
class Inner:
    clients: Annotated[int, typer.Option(min=2, help="Clients.")] = 20
    model: Annotated[str, typer.Option(help="A model.")] = "mlp"


@dataclass(frozen=True, slots=True)
class Options:
    learning: Inner = field(default_factory=lambda: Inner(model="cnn"))
    seeds: Seeds = (0, 1, 2)
    rows: Annotated[Sequence[str], names("Rows.")] = ()
    alphas: Annotated[Sequence[float], numbers("Skews.")] = (0.5,)


class Played:
    """Keeps what it was asked for."""

    def __init__(self) -> None:
        self.options: list[Options] = []

    def __call__(self, options: Options, *, say: Callable[[str, Mapping[str, object]], None]) -> Result:
        self.options.append(options)
        say("a row", {"accuracy": 0.5})
        return {"bench": "planted", "accuracy": 0.5}


def run(*arguments: str) -> Options:
    played, app = Played(), typer.Typer()
    played.__module__ = __name__
    bench = Benchmark(Options, played, lambda name, figures: f"{name} {figures}", draw={".svg": json.dumps})
    register(app, "planted", bench)
    app.callback()(lambda: None)
    typer.main.get_command(app)(["planted", *arguments], standalone_mode=False)
    return played.options[0] if played.options else Options()


def test_flags_without_a_word_are_the_options_without_a_word() -> None:
    """Of parts, too: the defaults of the part in its place, not those of its class."""
    assert run() == Options()
    assert run().learning.model == "cnn"


def test_a_flag_sets_its_field_however_deep() -> None:
    found = run("--clients", "7", "--seeds", "2", "--rows", "a, b; c", "--alphas", "0.1,5")
    assert found == Options(Inner(7, "cnn"), (0, 1), ("a, b", "c"), (0.1, 5.0))
    assert run("--seeds", "3,5").seeds == (3, 5)


@pytest.mark.parametrize("wrong", [["--clients", "1"], ["--alphas", "x"], ["--seeds", ""], ["--nothing"]])
def test_a_flag_that_cannot_be_is_refused(wrong: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        run(*wrong)
    assert wrong[0] in refused.value.format_message()


def test_a_result_is_written_and_drawn_again_without_measuring(tmp_path: Path) -> None:
    out, first, again = (str(tmp_path / name) for name in ("r.json", "a.svg", "b.svg"))
    run("--out", out, "--plot", first)
    assert json.loads(Path(out).read_text()) == {"bench": "planted", "accuracy": 0.5}
    assert run("--drawn", out, "--plot", again, "--seeds", "1") == Options()  # it was not played
    assert Path(again).read_text() == Path(first).read_text()


def test_a_picture_of_no_known_kind_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        run("--plot", str(tmp_path / "a.png"))
    assert refused.value.key == "--plot"


@pytest.mark.parametrize("name", BENCHES)
def test_every_field_of_a_benchmark_is_a_flag(name: str) -> None:
    command: Any = typer.main.get_command(build([name])).commands[name]  # pyright: ignore[reportAttributeAccessIssue]
    module, _, bench = BENCHES[name].rpartition(".")
    options = getattr(__import__(f"tests.bench.{module}", fromlist=[bench]), bench).options
    assert {each.name for each in command.params} >= set(leaves(options))
    assert command.help


def leaves(options: Any) -> list[str]:
    """The names of all fields; those of a field that is a dataclass in its place."""
    hints = get_type_hints(options)
    return [
        name
        for each in fields(options)
        for name in (leaves(hints[each.name]) if is_dataclass(hints[each.name]) else [each.name])
    ]


def test_what_is_wrong_is_told_with_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapters", "--conditions", "nothing", "--seeds", "1"]) == 2
    assert "nothing" in capsys.readouterr().err


def test_the_page_of_results_stays_one_that_can_be_read() -> None:
    lines = PAGE.read_text().splitlines()
    assert len(lines) <= 250
    assert all(len(line) <= 100 for line in lines if not line.startswith(("|", "!")))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_stored_result_says_what_and_where_and_has_whole_rows(path: Path) -> None:
    found = json.loads(path.read_text())
    assert found["machine"]
    if path.stem == "speed":  # as `make speed` writes it
        return
    assert found["tables"]
    for table in found["tables"]:
        assert table["rows"]
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}, table["columns"]
