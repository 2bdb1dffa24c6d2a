"""The command's files and its page; the report shows an audit that lies beside the run."""

from __future__ import annotations

import json
import struct
import sys
import zlib
from base64 import b64decode
from pathlib import Path

import pytest

from roughfed.deploy.audit.page import sections
from roughfed.deploy.audit.regression import Curve
from roughfed.deploy.audit.result import AuditResult, read_audit
from roughfed.deploy.audit.trials import Inversion, Picture
from roughfed.deploy.cli import app
from roughfed.errors import ConfigError
from roughfed.report.html import render
from roughfed.report.summary import RunSummary
from tests.unit.report_page import Reading, values

RESULT = AuditResult(
    data="digits",
    model="mlp",
    dim=8,
    group=4,
    trials=1,
    clients=24,
    warning="a <warning>",
    inversions=[
        Inversion("updates", 1, "smooth", 1000, 64, 60.0, 11.0),
        Inversion("one sketch", 1, "smooth", 8, 64, 11.2, 11.0),
        Inversion("one sketch", 1, "learned", 8, 64, 15.0, 13.0),
    ],
    pictures=[Picture(1, {"original": [[0.0, 1.0], [0.5, 2.0]], "updates": [[0.0, 1.0], [0.5, 1.0]]})],
    statics=[Curve("every round", [1.0, 0.0], 2), Curve("once a run", [1.0, 1.0])],
    habits=[Curve("sketches of 8", [0.9, 0.8])],
)


def test_the_result_survives_its_file(tmp_path: Path) -> None:
    assert read_audit(tmp_path) is None
    (tmp_path / "audit.json").write_text(RESULT.to_json())
    assert read_audit(tmp_path) == RESULT
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"audit\.json"):
        read_audit(tmp_path)


def test_a_report_shows_the_audit_and_is_a_page_without_it() -> None:
    run = RunSummary("kind-otter", "clean", "sketches", 4, 10, 40)
    page = Reading(render(run, sections(RESULT)))
    words = page.text
    assert "gradient inversion" in words
    assert "a <warning>" in words
    for said in ("recognisable", "as guessing", "better", "round 2"):
        assert said in words
    assert words.index("gradient inversion") < words.index("Configuration")
    assert "inversion" not in Reading(render(run)).text
    rebuilt = page.chart("A batch of one image")
    assert values(rebuilt, "rebuilt") == [60.0, 11.2, 15.0]
    assert values(rebuilt, "guessing with the same knowledge") == [11.0, 11.0, 13.0]
    assert values(page.chart("A value that never changes"), "every round") == [1.0, 0.0]


def test_rebuilt_images_are_shown_without_scripts_pixel_by_pixel() -> None:
    page = Reading("".join(sections(RESULT)))
    shown = {each["alt"]: each["src"] for tag, each in zip(page.tags, page.attributes, strict=True) if tag == "img"}
    assert list(shown) == ["original", "updates"]
    image = b64decode(shown["original"].removeprefix("data:image/png;base64,"))
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", image[16:24]) == (2, 2)
    size = struct.unpack(">I", image[33:37])[0]
    assert zlib.decompress(image[41 : 41 + size]) == bytes([0, 255, 0, 0, 127, 0])


def test_the_command_writes_its_files_and_counts_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    small = ["--data", "digits", "--model", "logistic", "--dim", "8", "--group", "4", "--images", "1", "--steps", "2"]
    small += ["--clients", "21", "--rounds", "4", "--json", "--dir", str(tmp_path)]

    assert app.run(["audit", *small]) == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["done"] for line in lines[:-1]] == list(range(15))
    assert {line["of"] for line in lines[:-1]} == {14}
    assert {row["mode"] for row in lines[-1]["inversions"]} >= {"updates", "one sketch", "sketches", "sums"}
    page = (tmp_path / "audit.html").read_text()
    assert len(Reading(page).charts) == 4
    found = read_audit(tmp_path)
    assert found is not None
    assert [len(picture.images) for picture in found.pictures] == [9, 9]
    assert len(page) < 700_000


def test_a_bad_flag_is_refused_in_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    assert app.run(["audit", "--dim", "7", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["key"] == "--dim"
