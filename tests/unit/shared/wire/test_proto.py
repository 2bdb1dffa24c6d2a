"""The schemas: generated code is what they generate, and each field says what it means."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
PROTOS = sorted((ROOT / "proto").rglob("*.proto"))
COMMENT = re.compile(r"^\s*//\s*\S")
FIELD = re.compile(r"^\s*(?:repeated |optional |map<[^>]+>\s+)?(?:[\w.]+\s+)?(\w+)\s*=\s*\d+;")
MESSAGE = re.compile(r"^\s*(message|enum|service|oneof)\s+(\w+)\s*\{(\s*\})?")


def undocumented(text: str) -> list[str]:
    """Fields, enum values and calls without a comment directly above; members of a oneof are named by their types."""
    bare: list[str] = []
    stack: list[tuple[str, str]] = []
    above = ""
    for line in text.splitlines():
        if opened := MESSAGE.match(line):
            if not opened[3]:
                stack.append((opened[1], opened[2]))
        elif line.strip() == "}":
            stack.pop()
        elif (field := FIELD.match(line)) and stack[-1][0] != "oneof" and not COMMENT.match(above):
            bare.append(".".join([*(name for _, name in stack), field[1]]))
        above = line
    return bare


@pytest.mark.parametrize("path", PROTOS, ids=lambda p: p.stem)
def test_every_field_says_what_it_means(path: Path) -> None:
    assert undocumented(path.read_text()) == []


def test_the_parser_sees_a_bare_field() -> None:
    lines = [
        "message A {",
        "// Yes.",
        "bytes a = 1;",
        "message B {",
        "repeated .x.C b = 2;",
        "}",
        "map<string, int32> c = 3;",
        "}",
    ]
    assert undocumented("\n".join(lines)) == ["A.B.b", "A.c"]


def test_no_python_in_proto() -> None:
    assert PROTOS
    assert [p for p in (ROOT / "proto").rglob("*") if p.is_file() and p.suffix != ".proto"] == []


def test_generated_code_is_up_to_date(tmp_path: Path) -> None:
    if not (ROOT / ".venv-proto/.done").exists():
        setup = ["make", ".venv-proto/.done", f"PYTHON={sys.executable}"]
        if shutil.which("make") is None or subprocess.run(setup, cwd=ROOT, check=False).returncode != 0:
            pytest.skip("needs .venv-proto: make proto")
    quiet = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}

    subprocess.run(["make", "--silent", "generate", f"PROTO_OUT={tmp_path}"], cwd=ROOT, env=quiet, check=True)

    fresh = {p.relative_to(tmp_path / "roughfed/pb"): p.read_text() for p in tmp_path.rglob("*_pb2.py*")}
    committed = {
        p.relative_to(ROOT / "shared/pb"): p.read_text()
        for p in (ROOT / "shared/pb").rglob("*_pb2.py*")
        if p.suffix in {".py", ".pyi"}
    }
    assert len(fresh) == 2 * len(PROTOS)
    assert committed == fresh, "run `make proto`"
