"""Reports in Chromium: the charts are drawn, the policy lets through what it should, nobody is asked for anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from roughfed.report.html import render
from roughfed.report.summary import RunSummary
from tests.unit.heterogeneous_rounds import summary
from tests.unit.report_page import Reading
from tests.unit.shared.report.test_report_heterogeneity import FULL, HOSTILE, a_round, renamed
from tests.unit.shared.report.test_report_html import FEW, RUNS, a_run, one_round
from tests.unit.shared.report.test_report_rough import ALL

from .browser import Browser, Tab

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

AXE = Path(__file__).with_name("accessible.js").read_text()
"""A list of what people cannot use who do not see, or see little."""

ATTACK = "</script><script>window.hacked = 1</script><!--<img src=x onerror='window.hacked = 1'>"
PAGES = {
    "usual": render(RUNS["usual"]),
    "200 clients": render(RUNS["200 clients"]),
    "300 rounds": render(RUNS["300 rounds"]),
    "sketches": render(RUNS["sketches"]),
    "nothing measured": render(RUNS["nothing measured"]),
    "diverged": render(RUNS["diverged"]),
    "long tail": render(ALL["long tail"][0]),
    "against": render(ALL["against"][0], plain=ALL["against"][1]),
    "heterogeneity": render(FULL),
    "hostile": render(
        a_run([ATTACK, "b"], [one_round(n, [ATTACK, "b"]) for n in (1, 2)], run=ATTACK, class_names=[ATTACK, "d"])
    ),
    "hostile clusters": render(
        RunSummary("r", "heterogeneous", "updates", 3, 10, 40, rounds=[a_round(n, renamed(summary(n))) for n in (1, 2)])
    ),
}
MARKS = "path, rect, circle, line"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def opened(browser: Browser, folder: Path, page: str, *, width: int = 1200, dark: bool = False) -> Tab:
    """The page, drawn."""
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    tab = browser.open(path.as_uri(), width=width, dark=dark)
    tab.until("document.readyState === 'complete' && !document.querySelector('.canvas:empty')")
    return tab


def drawn(name: str) -> str:
    """The chart with this caption."""
    return f"[...document.querySelectorAll('figure.chart')].find((e) => e.textContent.startsWith('{name}'))"


def count(tab: Tab, name: str, selector: str) -> int:
    return tab.ask(f"{drawn(name)}.querySelectorAll('{selector}').length")


@pytest.mark.parametrize("name", PAGES)
def test_every_chart_is_drawn_and_nothing_is_complained_of(browser: Browser, tmp_path: Path, name: str) -> None:
    tab = opened(browser, tmp_path, PAGES[name])
    marks = tab.ask(f"[...document.querySelectorAll('.canvas')].map((e) => e.querySelectorAll('{MARKS}').length)")
    assert len(marks) == len(Reading(PAGES[name]).charts)
    assert all(marks)
    assert tab.complaints() == []
    assert [request["url"] for request in tab.requests()] == [(tmp_path / "report.html").as_uri()]
    assert "NaN" not in tab.ask("[...document.querySelectorAll('.canvas')].map((e) => e.innerHTML).join()")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("name", ["against", "heterogeneity"])
def test_it_can_be_used_and_read(browser: Browser, tmp_path: Path, name: str, width: int, dark: bool) -> None:
    tab = opened(browser, tmp_path, PAGES[name], width=width, dark=dark)
    assert tab.ask(AXE) == []
    assert tab.ask("document.documentElement.scrollWidth") == width
    sizes = "[...document.querySelectorAll('svg.plot text')].map((e) => parseFloat(getComputedStyle(e).fontSize))"
    assert tab.ask(f"Math.min(...{sizes})") >= 12
    scaled = "(e) => Math.abs(e.getBoundingClientRect().width - e.viewBox.baseVal.width)"
    assert tab.ask(f"Math.max(...[...document.querySelectorAll('svg.plot')].map({scaled}))") < 1


def test_marks_are_as_many_as_values(browser: Browser, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, PAGES["long tail"])
    assert count(tab, "Accuracy by class, last measured", "[aria-label=bar] rect") == 10
    assert count(tab, "Accuracy by class over the rounds", "[aria-label=cell] rect") == 10 * 10
    assert count(tab, "Confusion matrix", "[aria-label=cell] rect") == 10 * 10
    assert count(tab, "Head, medium and tail", "[aria-label=dot] circle") == 3 * 10
    assert count(tab, "Who holds what", "[aria-label=bar] rect") == len(
        [n for row in ALL["long tail"][0].holdings or [] for n in row if n]
    )


def test_curves_have_dashes_and_the_legend_has_the_same(browser: Browser, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, PAGES["against"])
    dashes = "[...{}.querySelectorAll('{}')].map((e) => e.getAttribute('stroke-dasharray'))"
    curves = tab.ask(dashes.format(drawn("Accuracy by round"), "[aria-label=line]"))
    assert len(set(curves)) == len(curves) == 2
    assert tab.ask(dashes.format(drawn("Accuracy by round"), ".key line")) == curves


def test_gaps_of_calibration_look_as_the_legend_says(browser: Browser, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, PAGES["long tail"])
    of = "(e) => ['fill', 'fill-opacity'].map((a) => e.getAttribute(a) ?? '1').join()"
    look = f"[...{{}}.querySelectorAll('{{}}')].map({of})"
    figure = drawn("Calibration")
    keys = tab.ask(look.format(figure, ".key rect"))
    assert len(set(keys)) == 3
    assert set(tab.ask(look.format(figure, "svg[aria-label^=Calibration] [aria-label=rect]"))) <= set(keys)


def test_a_flat_share_has_an_axis_of_five_points(browser: Browser, tmp_path: Path) -> None:
    flat = a_run(FEW, [one_round(n, FEW, accuracy=0.9 + n / 10_000, balanced_accuracy=None) for n in range(1, 9)])
    tab = opened(browser, tmp_path, render(flat))
    labels = f"[...{drawn('Accuracy by round')}.querySelectorAll('[aria-label=\"y-axis tick label\"] text')]"
    marks = tab.ask(f"{labels}.map((e) => parseFloat(e.textContent))")
    assert max(marks) - min(marks) >= 5
    assert max(marks) <= 100


def test_pointing_at_a_chart_says_its_values(browser: Browser, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, PAGES["usual"])
    tab.ask(f"{drawn('Accuracy by round')}.scrollIntoView({{ block: 'center' }})")
    box = f"{drawn('Accuracy by round')}.querySelector('svg.plot').getBoundingClientRect()"
    x, y = tab.ask(f"(() => {{ const b = {box}; return [b.right - 16, b.top + b.height / 2]; }})()")
    tab.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    tab.until(
        f"/balanced accuracy: 75 %/.test({drawn('Accuracy by round')}.querySelector('[aria-label=tip]').textContent)"
    )


@pytest.mark.parametrize("name", ["hostile", "hostile clusters"])
def test_names_are_shown_and_never_obeyed(browser: Browser, tmp_path: Path, name: str) -> None:
    tab = opened(browser, tmp_path, PAGES[name])
    assert tab.ask("window.hacked") is None
    assert tab.ask("document.querySelectorAll('img').length") == 0
    assert tab.ask("document.querySelectorAll('script:not([type=\"application/json\"])').length") == 3
    shown = tab.ask("document.body.textContent")
    assert (ATTACK if name == "hostile" else HOSTILE.replace("\u202e", "\ufffd")) in shown
    assert "\u202e" not in tab.ask("[...document.querySelectorAll('.canvas')].map((e) => e.textContent).join()")


def test_a_script_that_nobody_named_does_not_run(browser: Browser, tmp_path: Path) -> None:
    """The policy is the second wall: markup in a name would not run, if it ever stood in the page."""
    tab = opened(browser, tmp_path, PAGES["usual"].replace("<main>", "<main><script>window.hacked = 1</script>"))
    assert tab.ask("window.hacked") is None
    assert any("Content Security Policy" in words for words in tab.complaints())
