"""In CI no test is quietly skipped for want of something that could have been installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"


def run_pytest(folder: Path, test: str, *, ci: str) -> str:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_it.py").write_text(f"import pytest\n{test}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder]
    environment = os.environ | {"CI": ci}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


SKIP = "def test(): pytest.skip({!r})"
MARK = "@pytest.mark.skipif(True, reason={!r})\ndef test(): pass"
MODULE = "pytest.skip({!r}, allow_module_level=True)"


@pytest.mark.parametrize(
    ("form", "reason", "ci", "closing"),
    [
        (SKIP, "needs protoc", "true", "1 failed"),
        (MARK, "needs protoc", "true", "1 error"),
        (MODULE, "needs protoc", "true", "1 error"),
        (SKIP, "needs protoc", "", "1 skipped"),
        (SKIP, "needs a CUDA GPU", "true", "1 skipped"),
        (MODULE, "needs a CUDA GPU", "true", "1 skipped"),
        (SKIP, "not on this platform", "true", "1 skipped"),
    ],
)
def test_a_missing_tool_fails_only_in_ci(tmp_path: Path, form: str, reason: str, ci: str, closing: str) -> None:
    assert closing in run_pytest(tmp_path, form.format(reason), ci=ci)
