"""The status page in Chromium: a masked run that it follows, a large one that it must carry, and a lock before it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from roughfed.server.observe.http import TOKEN_FILE
from tests.unit.documents import blocks

from .browser import Browser, Tab
from .canned import HOSTILE, Canned, canned, status
from .masked import masked_cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CLIENTS, ROUNDS = 200, 300
WIDTHS = (360, 600, 768, 1280, 1920)
TOKEN = "t0ken-" * 8

AXE = Path(__file__).with_name("accessible.js").read_text()
"""A list of what people cannot use who do not see, or see little."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canned]:
    with canned(tmp_path_factory.mktemp("large"), clients=CLIENTS, rounds=ROUNDS) as site:
        yield site


@pytest.fixture(scope="module")
def tab(browser: Browser, large: Canned) -> Tab:
    """The large run, drawn."""
    tab = browser.open(large.url)
    tab.until(f"document.querySelector('#learning svg') && {rows('.matrix')} === 50 && {rows('.clients')} === 25")
    return tab


def rows(where: str) -> str:
    return f"document.querySelectorAll('{where} tbody tr').length"


def settle(tab: Tab) -> None:
    """Two frames: what was to be drawn for a new size is drawn."""
    tab.ask("new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")


def keep(tab: Tab, name: str, tmp_path: Path) -> None:
    """A picture for a person, where ROUGHFED_PICTURES says (a folder)."""
    folder = Path(os.environ.get("ROUGHFED_PICTURES", tmp_path))
    picture = tab.picture(folder / f"{name}.png")
    assert picture.stat().st_size > 20_000  # something is on it


# -- a large run -------------------------------------------------------------------------------------------------------


@pytest.mark.alone
def test_it_paints_within_a_second(browser: Browser, large: Canned) -> None:
    """The quickest of some: how busy the machine is says nothing of the page."""
    painted = "performance.getEntriesByName('first-contentful-paint')"
    found = []
    for _ in range(5):
        tab = browser.open(large.url)
        tab.until(f"{painted}.length && {rows('.clients')} === 25")
        found.append(tab.ask(f"{painted}[0].startTime"))
        tab.send("Page.close")
        if found[-1] < 1000:
            break
    assert min(found) < 1000, f"first contentful paint in ms: {found}"


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_needs_sideways_scrolling(tab: Tab, width: int) -> None:
    tab.look(width=width, height=900)
    settle(tab)
    assert tab.ask("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_can_be_used_and_read(tab: Tab, width: int, dark: bool, tmp_path: Path) -> None:
    tab.look(width=width, height=1100, dark=dark)
    settle(tab)
    assert tab.ask(AXE) == []
    keep(tab, f"page-{width}-{'dark' if dark else 'light'}", tmp_path)


def test_it_asks_nobody_else_and_complains_of_nothing(tab: Tab, large: Canned) -> None:
    asked = [urlsplit(request["url"]) for request in tab.requests() if not request["url"].startswith("data:")]
    assert {(url.scheme, url.hostname, url.port) for url in asked} == {("http", "127.0.0.1", large.http.port)}
    assert {request["method"] for request in tab.requests()} == {"GET"}
    assert tab.complaints() == []


def test_a_hostile_name_is_text(tab: Tab) -> None:
    assert tab.ask("document.querySelectorAll('img').length") == 0
    shown = HOSTILE.replace("\u202e", "\ufffd")
    held = tab.ask("[...document.querySelectorAll('#defence tbody th')].map((e) => e.textContent)")
    assert shown in held
    assert tab.ask("document.title").endswith("northern-hospitals · roughfed")


def test_rounds_that_were_abandoned_count_for_the_last_one(tab: Tab) -> None:
    assert tab.ask("document.getElementById('round').textContent").startswith(f"round {ROUNDS + 1} of {ROUNDS + 103} ")
    assert tab.ask("document.getElementById('run-bar').max") == ROUNDS + 103
    assert tab.ask("document.getElementById('run-bar').value") == ROUNDS  # the open one is not over


def test_clients_are_found_sorted_and_paged(tab: Tab) -> None:
    names = "[...document.querySelectorAll('.clients tbody th')].map((e) => e.textContent)"
    sort = "document.querySelectorAll('.clients thead button')[{}].click()"
    tab.ask(sort.format(4))  # left out, most first
    assert tab.ask("document.querySelectorAll('.clients thead th')[4].getAttribute('aria-sort')") == "descending"
    most = tab.ask("[...document.querySelectorAll('.clients tbody td:nth-child(5)')].map((e) => Number(e.textContent))")
    assert most == [6] * 25
    tab.ask(sort.format(0))
    tab.ask("document.querySelectorAll('.clients .pages button')[1].click()")
    assert tab.ask(names)[:2] == ["hospital-025", "hospital-026"]
    assert "26 to 50 of 200 clients" in tab.text(".clients .pages")
    tab.ask("""(() => { const field = document.querySelector('#client-filter'); field.value = 'hospital-19';
      field.dispatchEvent(new Event('input')); })()""")
    assert tab.ask(names) == [f"hospital-{number}" for number in range(190, 200)]
    tab.ask("""(() => { const field = document.querySelector('#client-filter'); field.value = '';
      field.dispatchEvent(new Event('input')); })()""")
    assert len(tab.ask(names)) == 25


def test_the_matrix_shows_who_had_trouble_first_and_all_on_demand(tab: Tab) -> None:
    count = "(row) => row.querySelectorAll('.excluded, .dropped').length"
    trouble = tab.ask(f"[...document.querySelectorAll('.matrix tbody tr')].map({count})")
    assert trouble[0] == max(trouble) > 0
    assert sorted(trouble, reverse=True)[:10] == trouble[:10]
    for expected in (100, 150, 200):
        tab.ask("document.querySelector('.matrix .pages button').click()")
        assert tab.ask(rows(".matrix")) == expected
    assert tab.ask("document.querySelector('.matrix .pages button').hidden")
    marks = (
        "[...new Set([...document.querySelectorAll('.matrix td')].map((e) => e.className + e.firstChild.textContent))]"
    )
    assert set(tab.ask(marks)) == {"accepted●", "excluded✕", "dropped◌", "absent·"}  # told without colour, too


def test_every_chart_is_drawn(tab: Tab) -> None:
    marks = "(e) => e.querySelectorAll('path, rect, circle, line').length"
    found = tab.ask(f"[...document.querySelectorAll('.canvas')].map({marks})")
    assert len(found) == 10
    assert all(found)
    assert tab.ask("document.querySelectorAll('#learning figure.wide [aria-label=cell] rect').length") >= 10 * 40
    assert tab.ask("document.querySelectorAll('#defence [aria-label=bar] rect').length") == 12


def test_the_numbers_behind_a_chart_are_a_table(tab: Tab) -> None:
    tab.ask("document.querySelector('#learning details summary').click()")
    tab.until("document.querySelector('#learning details table')")
    measured = tab.ask(rows("#learning details"))
    assert measured > 0.9 * ROUNDS
    first = tab.ask("document.querySelector('#learning tbody tr').textContent")
    assert first.startswith(str(ROUNDS))


def test_it_says_what_changes_and_that_the_server_went(browser: Browser, tmp_path: Path) -> None:
    with canned(tmp_path, clients=12, rounds=3) as site:
        tab = browser.open(site.url)
        tab.until("document.querySelector('#connection').dataset.state === 'live' && document.querySelector('.alert')")
        assert "2 alerts" in tab.text("#spoken")
        assert tab.ask("document.title").startswith("(2) report")
        calm = status(clients=12, rounds=3, wrong=False) | {"phase": "unmask", "paused": True}
        site.say(calm)
        tab.until("document.querySelector('#alert-list').textContent === '✔Nothing is wrong.'")
        assert "unmasked" in tab.text("#phase")
        assert tab.ask("document.title").startswith("Paused")
        assert not tab.ask("document.querySelector('#paused').hidden")
    tab.until("document.title.startsWith('Ended')")
    assert tab.text("#connection") == "the server has ended"
    assert tab.text("h1") == "northern-hospitals"  # what is known stays


def test_rounds_that_a_backup_does_not_have_are_forgotten(browser: Browser, tmp_path: Path) -> None:
    shown = "document.querySelectorAll('.matrix thead th').length"
    with canned(tmp_path, clients=8, rounds=6) as site:
        tab = browser.open(site.url)
        tab.until(f"{shown} === 7")
        with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
            db.execute("DELETE FROM rounds WHERE round > 2")
            db.commit()
        site.say(status(clients=8, rounds=2))
        tab.until(f"{shown} === 3")
        assert tab.ask(shown) == 3


# -- the token ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Canned]:
    with canned(tmp_path, clients=4, rounds=2, token=TOKEN) as site:
        yield site


LIVE = "document.querySelector('#connection').dataset.state === 'live'"


def test_it_asks_for_the_token_and_keeps_it_in_the_tab(browser: Browser, locked: Canned) -> None:
    def enter(text: str) -> None:
        tab.ask(f"document.querySelector('#token').value = {json.dumps(text)}")
        tab.ask("document.querySelector('#token-form button').click()")

    tab = browser.open(locked.url)
    tab.until("!document.querySelector('#locked').hidden")
    assert tab.ask("document.activeElement.id") == "token"
    assert tab.ask(AXE) == []
    assert "hospital" not in tab.ask("document.body.textContent")
    enter("wrong")
    tab.until("document.querySelector('#token-said').textContent === 'This is not the token.'")
    enter(TOKEN)
    tab.until(f"{LIVE} && document.querySelector('#locked').hidden")
    assert tab.ask("document.querySelector('#token').value") == ""
    tab.send("Page.reload")
    tab.until(f"document.readyState === 'complete' && {LIVE}")
    assert TOKEN not in json.dumps([request["url"] for request in tab.requests()])


def test_it_takes_the_token_out_of_the_address(browser: Browser, locked: Canned) -> None:
    tab = browser.open(f"{locked.url}#token={TOKEN}")
    tab.until(LIVE)
    assert tab.ask("location.href") == locked.url
    asked = [r for r in tab.requests() if "/api/" in r["url"]]
    assert asked
    assert all(r["headers"]["Authorization"] == f"Bearer {TOKEN}" for r in asked)
    assert all(TOKEN not in r["url"] for r in asked)


def test_the_commands_of_the_document_get_an_answer(locked: Canned, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    (block,) = [b for b in blocks("sh") if b.mark == "run" and "curl" in b.text]
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / TOKEN_FILE).write_text(TOKEN + "\n")
    command = block.text.replace("http://127.0.0.1:9464/", locked.url)
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["federation"] == "northern-hospitals"


# -- a real run --------------------------------------------------------------------------------------------------------


def test_a_masked_run_is_followed_without_a_reload(browser: Browser, tmp_path: Path) -> None:
    """Behind a token, with four real clients; every round appears by itself, and so does the end."""
    settings: dict[str, dict[str, Any]] = {"server": {"http_token": True}, "round": {"evaluate_every": 1}}
    with masked_cluster(tmp_path, rounds=3, settings=settings) as cluster:
        ports = cluster.start_server().ready()
        token = (cluster.place.state / TOKEN_FILE).read_text().strip()
        tab = browser.open(f"http://127.0.0.1:{ports.http}/#token={token}")
        tab.until(f"{LIVE} && /0 of 4 clients/.test(document.querySelector('#phase').textContent)")
        tab.ask("window.mark = 'not loaded again'")
        clients = cluster.start_clients(pace_s=0.3)
        tab.until(f"{rows('.clients')} === 4")
        tab.until("/Group 1: 4 clients/.test(document.querySelector('#groups').textContent)", timeout_s=60)
        for number in range(1, 4):
            tab.until(f"document.querySelectorAll('.matrix thead th').length > {number}", timeout_s=60)
        tab.until("document.title.startsWith('Ended')", timeout_s=60)
        assert tab.text("#phase") == "The run is over: all its rounds are played"
        assert tab.ask("window.mark") == "not loaded again"
        accepted = tab.ask("[...document.querySelectorAll('.matrix td')].every((e) => e.className === 'accepted')")
        assert accepted
        assert tab.ask(rows(".matrix")) == 4
        assert [process.wait() for process in (cluster.server, *clients)] == [0] * 5
        log = "\n".join(cluster.server.lines)
        assert token not in log
        gone = "net::ERR_CONNECTION"  # it goes on trying: the server may be started again
        assert [each for each in tab.complaints() if gone not in each] == []
