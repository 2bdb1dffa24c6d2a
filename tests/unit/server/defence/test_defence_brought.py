"""Defences that installed packages bring: the example works and keeps the laws of the room; what is wrong is said."""

from __future__ import annotations

import importlib.util
import itertools
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from roughfed.config import check_federation, load_federation
from roughfed.errors import ConfigError
from roughfed.server.defence import RULES
from roughfed.server.defence.check import check_rule
from roughfed.server.defence.plan import rule_of

ROOT = Path(__file__).parents[4]
EXAMPLE = ROOT / "deploy" / "examples" / "own_defence"
LAWS = ROOT / "tests" / "contract" / "test_defence_room.py"

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Lay a package out as an installer does: its module, and beside it what it says of entry points."""
    site, modules = tmp_path / "site", set(sys.modules)
    site.mkdir()

    def lay_out(package: str, *, points: dict[str, str], module: str = "", source: str = "") -> None:
        info = site / f"{package.replace('-', '_')}-0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
        lines = "".join(f"{name} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[roughfed.defences]\n{lines}")
        if module:
            (site / f"{module}.py").write_text(source)

    monkeypatch.syspath_prepend(site)
    yield lay_out
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(site)):
            del sys.modules[name]


def install_example(install: Install) -> None:
    said = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    (module,) = said["tool"]["setuptools"]["py-modules"]
    points = said["project"]["entry-points"]["roughfed.defences"]
    install(said["project"]["name"], points=points, module=module, source=(EXAMPLE / f"{module}.py").read_text())


def laws() -> ModuleType:
    """The suite of the room, read with whatever is in the table now."""
    spec = importlib.util.spec_from_file_location("laws_of_defences", LAWS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def cases_of(test: FunctionType) -> Iterator[dict[str, Any]]:
    """The arguments with which pytest would call a test."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    choices: list[list[dict[str, Any]]] = []
    for mark in marks:
        names, values = mark.args
        names = [names] if isinstance(names, str) else list(names)
        rows = [getattr(value, "values", value if len(names) > 1 else (value,)) for value in values]
        choices.append([dict(zip(names, row, strict=True)) for row in rows])
    for chosen in itertools.product(*choices):
        yield {name: value for arguments in chosen for name, value in arguments.items()}


def test_the_example_keeps_the_laws_of_the_room(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    install_example(install)
    monkeypatch.setitem(RULES, "medoid", rule_of("medoid"))
    held = 0
    for name, test in vars(laws()).items():
        for arguments in cases_of(test) if name.startswith("test_") else ():
            if arguments.get("name") == "medoid":
                needed = test.__code__.co_varnames
                more = {"tmp_path_factory": tmp_path_factory} if "tmp_path_factory" in needed else {}
                test(**arguments, **more)
                held += 1
    assert held >= 30


def test_the_example_is_short() -> None:
    """Shorter than what one reads without scrolling."""
    (module,) = EXAMPLE.glob("*.py")
    assert len(module.read_text().splitlines()) < 40


def written(folder: Path, rule: str) -> Path:
    (folder / "fed.toml").write_text(
        f'[model]\nname = "mlp"\n[data]\nname = "digits"\n[round]\nmin_clients = 5\n[defence]\nrule = "{rule}"\nf = 1\n'
    )
    return folder


def test_a_configuration_names_it_like_any_other(install: Install, tmp_path: Path) -> None:
    install_example(install)
    config = load_federation(written(tmp_path, "medoid"), {})
    check_federation(config)
    check_rule(config)
    assert "medoid" not in RULES  # loaded for whoever names it, listed for nobody


def test_it_is_unknown_where_it_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_federation(written(tmp_path, "medoid"), {})
    assert caught.value.key == "defence.rule"
    assert '"medoid" is no defence' in caught.value.cause


RULE = (EXAMPLE / "medoid_defence.py").read_text()
WRONG: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    "does not import": (
        [{"package": "odd", "points": {"mine": "odd_one:RULE"}, "module": "odd_one", "source": "import nowhere"}],
        "mine", 'package odd brings it (odd_one:RULE), cannot be loaded: ModuleNotFoundError',
    ),
    "is no Python": (
        [{"package": "odd", "points": {"mine": "odd_two:RULE"}, "module": "odd_two", "source": "RULE ="}],
        "mine", "cannot be loaded: SyntaxError",
    ),
    "is not there": (
        [{"package": "odd", "points": {"mine": "odd_three:RULE"}, "module": "odd_three", "source": ""}],
        "mine", "cannot be loaded: AttributeError",
    ),
    "is a function": (
        [{"package": "odd", "points": {"mine": "odd_four:judge"}, "module": "odd_four", "source": RULE}],
        "mine", "is a function and no roughfed.server.defence.Rule",
    ),
    "bears the name of a row": (
        [{"package": "odd", "points": {"multi-krum": "odd_five:MEDOID"}, "module": "odd_five", "source": RULE}],
        "multi-krum", '"multi-krum" is a rule of roughfed, and package odd brings another one of that name',
    ),
    "is brought twice": (
        [
            {"package": "odd", "points": {"mine": "odd_six:MEDOID"}, "module": "odd_six", "source": RULE},
            {"package": "other", "points": {"mine": "odd_six:MEDOID"}},
        ],
        "mine", '"mine" is brought by package odd (odd_six:MEDOID) and package other',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_package_that_cannot_be_used_is_refused_by_name(case: str, install: Install, tmp_path: Path) -> None:
    packages, name, cause = WRONG[case]
    for package in packages:
        install(**package)
    config = load_federation(written(tmp_path, name), {})
    with pytest.raises(ConfigError) as caught:
        check_rule(config)
    assert caught.value.key == "defence.rule"
    assert cause in caught.value.cause
    assert caught.value.cure


def test_nothing_is_imported_that_is_not_named(install: Install) -> None:
    install("odd", points={"mine": "odd_seven:RULE"}, module="odd_seven", source="raise SystemExit('imported')")
    assert rule_of("multi-krum") is RULES["multi-krum"]
    assert "odd_seven" not in sys.modules
