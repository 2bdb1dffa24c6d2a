"""An extension of the rounds is removed with its folder and its row of the table: the rest runs rounds as before."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ROOT = Path(__file__).resolve().parents[2]
ROUND = ["bench", "round", "--clients", "4", "--params", "2000", "--rounds", "2", "--server-sees"]


def without(extension: str, target: Path) -> Path:
    """The package without one extension: its folder is gone, and so is each line of the table that names it."""
    subprocess.run([sys.executable, ROOT / "tests/tree.py", target], check=True)
    extensions = target / "roughfed/server/extensions"
    shutil.rmtree(extensions / extension)
    table = extensions / "table.py"
    lines = table.read_text().splitlines(keepends=True)
    kept = [line for line in lines if f".{extension}." not in line and not line.lstrip().startswith(f'"{extension}": ')]
    assert len(lines) - len(kept) == 2, "an import and a row"
    table.unlink()  # it is a link
    table.write_text("".join(kept))
    return target


def python(tree: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(tree)}
    return subprocess.run(
        [sys.executable, *args], env=environment, cwd=tree, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("extension", "sees"), [("clusters", "sketches"), ("ledger", "updates")])
def test_rounds_run_without_an_extension(extension: str, sees: str, tmp_path: Path) -> None:
    tree = without(extension, tmp_path / "tree")
    lacking = python(tree, "-c", f"import roughfed.server.extensions.{extension}")
    assert "ModuleNotFoundError" in lacking.stderr
    done = python(tree, "-m", "roughfed.deploy.cli", *ROUND, sees, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert (found["rounds"], found["sum_exact"]) == (2, True)
