"""In CI no test is quietly skipped for want of something that could have been installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[2] / "conftest.py"


SKIP = "def test(): pytest.skip({!r})"
MARK = "@pytest.mark.skipif(True, reason={!r})\ndef test(): pass"
MODULE = "pytest.skip({!r}, allow_module_level=True)"

FORMS = {
    "a call": (SKIP, "needs protoc"),
    "a mark": (MARK, "needs protoc"),
    "a module": (MODULE, "needs protoc"),
    "no GPU": (SKIP, "needs a CUDA GPU"),
    "a module without a GPU": (MODULE, "needs a CUDA GPU"),
    "a platform": (SKIP, "not on this platform"),
}


@pytest.mark.parametrize(
    ("ci", "expected"),
    [
        ("true", {"failed": ["a call"], "error": ["a mark", "a module"]}),
        ("", {}),
    ],
)
def test_a_missing_tool_fails_only_in_ci(tmp_path: Path, ci: str, expected: dict[str, list[str]]) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    for at, (form, reason) in enumerate(FORMS.values()):
        (tmp_path / f"test_{at}.py").write_text(f"import pytest\n{form.format(reason)}\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        tmp_path,
        "-q",
        "-rfEs",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"CI": ci}, capture_output=True, text=True, check=False
    )
    found: dict[str, list[str]] = {"failed": [], "error": [], "skipped": []}
    for line in done.stdout.partition("short test summary info")[2].splitlines():
        word = line.partition(" ")[0].lower()
        found.get(word, []).extend(name for at, name in enumerate(FORMS) if f"test_{at}.py" in line)
    bad = [name for names in expected.values() for name in names]
    skipped = sorted(name for name in FORMS if name not in bad)
    assert {word: sorted(names) for word, names in found.items() if names} == expected | {"skipped": skipped}
