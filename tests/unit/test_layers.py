"""The layers: every import contract holds, and every one breaks when it should."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
PURE_CORE = ("codec", "crypto", "secagg", "sketch", "privacy")

# contract id -> (where a file is planted, the import that must break the contract)
VIOLATIONS = {
    "layers": ("server/planted.py", "import roughfed.client.planted_too"),
    "server-is-above": ("planted.py", "import roughfed.server"),
    "client-is-above": ("planted.py", "from roughfed.client import planted_too"),
    "deploy-is-top": ("server/planted.py", "import roughfed.deploy"),
    "pure-core": ("crypto/planted.py", "import time"),
    "wire-only": ("server/planted.py", "from roughfed.pb.v1 import tensor_pb2"),
    "server-without-torch": ("server/planted.py", "def late():\n    import torch"),
    "agent-without-torch": ("client/planted.py", "import torch"),
    "trainer-without-grpc": ("client/trainer/planted.py", "import grpc"),
    "rooms": ("server/aggregate/planted.py", "from roughfed.server.aggregate import planted_too"),
    "defences": ("server/defence/rules/planted.py", "from roughfed.server.defence.rules import krum"),
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


def test_every_contract_holds(tmp_path: Path) -> None:
    lay(tmp_path)
    done = lint(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in done.stdout


def test_every_contract_has_its_violation() -> None:
    assert {contract["id"] for contract in CONTRACTS} == set(VIOLATIONS)


@pytest.mark.parametrize("contract", VIOLATIONS)
def test_a_planted_import_breaks_its_contract(tmp_path: Path, contract: str) -> None:
    lay(tmp_path)
    where, code = VIOLATIONS[contract]
    plant(tmp_path, "server/aggregate/planted_too.py", "")
    plant(tmp_path, "client/planted_too.py", "")
    assert lint(tmp_path, contract).returncode == 0
    plant(tmp_path, where, code)

    done = lint(tmp_path, contract)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "Contracts: 0 kept, 1 broken." in done.stdout
    assert "planted" in done.stdout.split("Broken contracts")[1]


def test_the_pure_core_is_listed_in_its_contract() -> None:
    (contract,) = (c for c in CONTRACTS if c["id"] == "pure-core")
    there = {f"roughfed.{name}" for name in PURE_CORE if (ROOT / "shared" / name / "__init__.py").exists()}
    assert set(contract["source_modules"]) == there


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
