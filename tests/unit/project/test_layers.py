"""The layers: every import contract holds, and every one breaks when it should."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
PURE_CORE = ("codec", "crypto", "secagg", "sketch", "privacy")

# contract id -> (the folder in which a file is planted, the import that must break the contract)
VIOLATIONS = {
    "layers": ("server", "import roughfed.client.planted_too"),
    "server-is-above": (".", "import roughfed.server"),
    "client-is-above": (".", "from roughfed.client import planted_too"),
    "deploy-is-top": ("server", "import roughfed.deploy"),
    "pure-core": ("crypto", "import time"),
    "wire-only": ("server", "from roughfed.pb.v1 import tensor_pb2"),
    "server-without-torch": ("server", "def late():\n    import torch"),
    "agent-without-torch": ("client", "import torch"),
    "trainer-without-grpc": ("client/trainer", "import grpc"),
    "client-floors": (
        "client/disclosure",
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from roughfed.client.round import steps",
    ),
    "server-floors": (
        "server/storage",
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from roughfed.server.round import engine",
    ),
    "extensions": ("server/round", "from roughfed.server.extensions.clusters import extension"),
    "rooms": ("client/trainer/loss", "from roughfed.client.trainer.loss import planted_too"),
    "checks": ("deploy/doctor/checks", "from roughfed.deploy.doctor.checks import disk"),
    "defences": ("server/defence/rules", "from roughfed.server.defence.rules import krum"),
    "speed-is-apart": ("deploy/attack", "from roughfed.deploy.speed import measure"),
    "without-tests": ("deploy/attack", "from tests.bench.harness import rounds"),
}


def lay(target: Path) -> None:
    subprocess.run([sys.executable, ROOT / "tests/tree.py", target], check=True)
    shutil.copy(ROOT / "pyproject.toml", target)


def lint(tree: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    chosen = [part for name in contracts for part in ("--contract", name)]
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache", *chosen]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def plant(tree: Path, where: str, code: str) -> None:
    (tree / "roughfed" / where).write_text(f'"""Planted."""\n\n{code}\n')


def import_all(modules: list[str], *, without: str) -> subprocess.CompletedProcess[str]:
    """Import `modules` in a fresh process; fails when the package `without` came along."""
    code = (
        f"import sys, importlib\nfor m in {modules!r}: importlib.import_module(m)\nsys.exit({without!r} in sys.modules)"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)


def modules_of(package: str) -> list[str]:
    folder, *rest = package.split(".")[1:]
    root = ROOT.joinpath(folder, *rest)
    names = {p.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for p in root.rglob("*.py")}
    return sorted("roughfed." + name.removesuffix(".__init__") for name in names if not name.endswith("__main__"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it is, and two files that nobody imports yet."""
    target = tmp_path_factory.mktemp("tree")
    lay(target)
    plant(target, "client/trainer/loss/planted_too.py", "")
    plant(target, "client/planted_too.py", "")
    return target


@pytest.fixture(scope="module")
def broken(tree: Path) -> dict[str, str]:
    """With every violation planted at once: of each contract, by its id, what is said of how it is broken."""
    done = lint(tree)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in done.stdout
    for contract, (folder, code) in VIOLATIONS.items():
        plant(tree, f"{folder}/{file_of(contract)}.py", code)
    said = lint(tree).stdout.partition("Broken contracts")[2]
    places = {c["id"]: said.find(f"\n{c['name']}\n---") for c in CONTRACTS}
    starts = sorted(places.values())
    ends = dict(zip(starts, [*starts[1:], len(said)], strict=True))
    return {contract: said[at : ends[at]] if at >= 0 else "" for contract, at in places.items()}


def file_of(contract: str) -> str:
    return f"planted_{contract.replace('-', '_')}"


def test_every_contract_has_its_violation() -> None:
    assert {contract["id"] for contract in CONTRACTS} == set(VIOLATIONS)


@pytest.mark.parametrize("contract", VIOLATIONS)
def test_a_planted_import_breaks_its_contract(broken: dict[str, str], contract: str) -> None:
    assert f".{file_of(contract)} " in broken[contract], broken[contract] or "not broken"


def test_the_pure_core_is_listed_in_its_contract() -> None:
    (contract,) = (c for c in CONTRACTS if c["id"] == "pure-core")
    there = {f"roughfed.{name}" for name in PURE_CORE if (ROOT / "shared" / name / "__init__.py").exists()}
    assert set(contract["source_modules"]) == there


def test_every_room_of_the_client_stands_on_a_floor() -> None:
    (contract,) = (c for c in CONTRACTS if c["id"] == "client-floors")
    listed = {name for floor in contract["layers"] for name in floor.split(" | ")}
    assert listed == {
        p.stem for p in (ROOT / "client").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    } - {"__init__"}


def test_the_server_runs_without_torch() -> None:
    done = import_all(modules_of("roughfed.server"), without="torch")
    assert done.returncode == 0, done.stderr or "torch was imported"


def test_the_agent_runs_without_torch() -> None:
    agent = [m for m in modules_of("roughfed.client") if not m.startswith("roughfed.client.trainer")]
    done = import_all(agent, without="torch")
    assert done.returncode == 0, done.stderr or "torch was imported"


def test_the_trainer_runs_without_grpc() -> None:
    done = import_all(modules_of("roughfed.client.trainer"), without="grpc")
    assert done.returncode == 0, done.stderr or "grpc was imported"
