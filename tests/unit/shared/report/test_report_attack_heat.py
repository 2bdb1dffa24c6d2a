"""The heat map of attacks and defences says every figure, marks where a defence did harm, and trusts no name."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from roughfed.errors import ConfigError
from tests.bench.plots.attack_heat import BELOW, matrix_of, poisoning_svg, render_poisoning

SVG = "{http://www.w3.org/2000/svg}"


def figures(accuracy: float, clean: float = 0.86, **more: float) -> dict[str, float]:
    return {"accuracy": accuracy, "delta_clean": (accuracy - clean) * 100, **more}


def a_result(**changes: Any) -> dict[str, Any]:
    results = {
        "sign-flip": {"none": figures(0.42), "default": figures(0.85, excluded_hostile=0.98, excluded_honest=0.01)},
        "backdoor": {"none": figures(0.86, asr=0.97), "default": figures(0.86 - BELOW / 100 - 0.01, asr=0.03)},
    }
    clean = {"none": figures(0.86), "default": figures(0.855)}
    return {"bench": "poisoning", "clients": 20, "results": results, "clean": clean} | changes


def read(svg: str) -> tuple[list[str], list[str]]:
    """What is written in the chart, and what its tooltips say."""
    root = ET.fromstring(svg)
    return [e.text or "" for e in root.iter(f"{SVG}text")], [e.text or "" for e in root.iter(f"{SVG}title")]


def test_every_pair_is_written_and_said() -> None:
    written, said = read(poisoning_svg(a_result()))

    for word in ("no attack", "sign-flip", "backdoor", "none", "default", "86.0", "85.5", "42.0", "85.0", "84.5"):
        assert word in written
    assert "sign-flip, none: 42 %, -44.0 points against no attackers" in said
    assert said.count("worse than no defence") == 1
    assert any(words.startswith("backdoor, default") and "points against no defence" in words for words in said)


def test_a_defence_that_costs_no_more_than_the_bound_is_not_marked() -> None:
    close = {"mimic": {"none": figures(0.8), "default": figures(0.8 - BELOW / 100 + 1e-6)}}
    assert "worse than no defence" not in read(poisoning_svg(a_result(results=close)))[1]


def test_the_page_has_the_backdoors_and_all_figures() -> None:
    page = render_poisoning(a_result())

    assert "Backdoors" in page
    assert "97 % of the triggers work" in page
    assert "<td>sign-flip</td><td>default</td>" in page
    for cell in ("85 %", "98 %", "1 %", "-44.0 points"):
        assert f'<td class="n">{cell}</td>' in page
    assert "Backdoors" not in render_poisoning(a_result(results={"mimic": {"none": figures(0.8)}}))


def test_what_was_not_measured_is_blank_and_clean_figures_may_be_of_no_defence_alone() -> None:
    holed = {"alie": {"none": figures(0.7)}, "ipm": {"krum": figures(float("nan"))}}
    matrix = matrix_of(a_result(results=holed, clean=figures(0.86)))
    _, said = read(poisoning_svg(a_result(results=holed, clean=figures(0.86))))

    assert list(matrix.rows) == ["no attack", "alie", "ipm"]
    assert matrix.figure("ipm", "krum", "accuracy") is None
    assert said.count("not measured") == 4  # of six pairs


def test_names_cannot_break_out_of_the_page() -> None:
    evil = '<script>"&'
    page = render_poisoning(a_result(results={evil: {evil: figures(0.5, asr=0.5)}}))

    assert "<script>" not in page
    assert evil in read(poisoning_svg(a_result(results={evil: {evil: figures(0.5)}})))[0]


@pytest.mark.parametrize(
    "broken",
    [{"bench": "noisy"}, {"results": {}}, {"results": []}, {"results": {"a": 1}}, {"results": {"a": {"none": 0.5}}}],
)
def test_anything_else_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        matrix_of(a_result(**broken))


def test_harm_is_what_the_bench_says_it_is() -> None:
    """Masked runs are held against masked ones: the codec is no harm that a defence does."""
    told = {"none": figures(0.85), "default, sketches": {**figures(0.84), "delta_undefended": -0.1}}
    found = poisoning_svg({"bench": "poisoning", "results": {"alie": told}})
    assert "against no defence" not in found
    told["default, sketches"]["delta_undefended"] = -0.7
    assert "against no defence" in poisoning_svg({"bench": "poisoning", "results": {"alie": told}})
