"""deploy/prometheus: the tools accept its files, its alerts are the server's and a few that no server can raise.

`python -m tests.unit.server.observe.test_prometheus` writes the last group of roughfed.rules.yaml from the table of
server/observe/health.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from roughfed.server.observe.health import ALERTS
from roughfed.server.observe.health.alert import SEVERITIES
from tests.unit.documents import blocks
from tests.unit.promql import PROMETHEUS, ROOT, RULES, alerts, names, recordings, rules, scraped, strangers

CASES = PROMETHEUS / "tests" / "alerts.yaml"
RECEIVERS = {"critical": "on-call", "warning": "operator", "info": "nobody"}
WRITTEN = "\n  # -- written from server/observe/health"

ALERT = """\
      - alert: Roughfed{name}
        expr: roughfed_alert{{alert="{name}"}} == 1
        annotations:
          summary: '{meaning}'
          description: '`roughfed status` on {{{{ $labels.instance }}}} says who, how much and what to do.'
          runbook: docs/operate.md#{anchor}
"""
"""The severity is a label of the series: the server says which it is now."""


def written() -> str:
    """The rules with their last group as the table of the server's alerts has it."""
    above, mark, rest = RULES.read_text(encoding="utf-8").partition(WRITTEN)
    rows = [
        ALERT.format(name=name, anchor=name.lower(), meaning=sentence(rule.meaning)) for name, rule in ALERTS.items()
    ]
    return above + mark + rest.partition("\n")[0] + "\n\n  - name: roughfed-server\n    rules:\n" + "".join(rows)


def sentence(words: str) -> str:
    """With a capital, as a single-quoted text of YAML."""
    return (words[0].upper() + words[1:]).replace("'", "''")


def of_no_server() -> dict[str, dict[str, Any]]:
    """The alerts that are written by hand."""
    return {name: rule for name, rule in alerts().items() if name.removeprefix("Roughfed") not in ALERTS}


def tool(name: str, *arguments: str | Path, folder: Path = PROMETHEUS) -> str:
    """What a tool says, once it has accepted what it was given."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    done = subprocess.run(
        [found, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@cache
def cases() -> list[dict[str, Any]]:
    return yaml.safe_load(CASES.read_text())["tests"]


def asked(name: str, *, fires: bool) -> list[dict[str, Any]]:
    """The tests that say of an alert that it is to fire, or that it is not."""
    return [
        test
        for test in cases()
        if any(each["alertname"] == name and bool(each["exp_alerts"]) is fires for each in test["alert_rule_test"])
    ]


def anchors() -> list[str]:
    """Anchors of the headings of docs/operate.md, as they are made on the web."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "operate.md").read_text(), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings]


def config(name: str) -> dict[str, Any]:
    return yaml.safe_load((PROMETHEUS / name).read_text())


def test_promtool_accepts_the_rules() -> None:
    assert f"{len(rules())} rules found" in tool("promtool", "check", "rules", RULES, "--lint=all", "--lint-fatal")


def test_alerts_fire_and_are_silent_as_they_should() -> None:
    said = tool("promtool", "test", "rules", CASES)
    assert "SUCCESS" in said
    assert "FAILED" not in said


def test_the_rules_are_up_to_date_with_the_server_s_alerts() -> None:
    assert RULES.read_text() == written(), "run: python -m tests.unit.server.observe.test_prometheus"


def test_every_alert_of_no_server_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    """A silent case must have all that the alert reads, or it would be silent for want of data."""
    assert len(of_no_server()) == len(alerts()) - len(ALERTS) == 5
    for name in of_no_server():
        assert asked(name, fires=True), name
        assert [test for test in asked(name, fires=False) if reads(name) <= given(test)], name


def test_one_of_the_server_s_alerts_is_shown_to_fire_with_its_severities() -> None:
    told = [alert["exp_labels"] for test in cases() for each in test["alert_rule_test"] for alert in each["exp_alerts"]]
    assert {label["severity"] for label in told if "alert" in label} == {"warning", "critical"}


def reads(name: str) -> set[str]:
    """Series without which an alert says nothing: of what `or` joins, either will do."""
    needed = scraped(alerts()[name]["expr"], recordings()) | ({"up"} if "up{" in alerts()[name]["expr"] else set())
    return {each for each in needed if not each.startswith("roughfed_client_process")}


def given(test: dict[str, Any]) -> set[str]:
    return {series["series"].partition("{")[0] for series in test["input_series"]}


@pytest.mark.parametrize("name", alerts())
def test_every_alert_says_what_is_wrong_and_where_to_read_what_to_do(name: str) -> None:
    rule = alerts()[name]
    said = rule["annotations"]
    assert name.startswith("Roughfed")
    assert said.keys() == {"summary", "description", "runbook"}
    assert "$labels.instance" in said["description"]
    if name in of_no_server():
        assert rule["labels"]["severity"] in SEVERITIES
        assert "$value" in said["description"]
    page, _, anchor = said["runbook"].partition("#")
    assert page == "docs/operate.md"
    assert anchor == name.removeprefix("Roughfed").lower()
    assert anchors().count(anchor) == 1


def test_the_manual_has_every_row_and_explains_no_alert_that_there_is_not() -> None:
    document = (ROOT / "docs" / "operate.md").read_text()
    section = document.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    listed = [f"| {name} | {rule.severity} | {rule.meaning} |" for name, rule in ALERTS.items()]
    assert re.findall(r"^\| [A-Z]\w+ \| (?:critical|warning|info) \|.*$", section, re.MULTILINE) == listed
    explained = re.findall(r"^### (\w+)$", section, re.MULTILINE)
    assert explained == [name.removeprefix("Roughfed") for name in (*of_no_server(), *ALERTS)]


def test_rules_read_only_what_there_is() -> None:
    assert list(strangers([rule["expr"] for rule in rules()])) == []


def test_what_there_is_not_is_found() -> None:
    wrong = ['roughfed_paused{x="1"}', "rate(roughfed_pause[1m])", 'roughfed_clients{state=~"connected|lost"} > 1']
    found = ["roughfed_paused{x}", "roughfed_pause", "roughfed_clients{state=lost}"]
    assert list(strangers(wrong)) == found


def test_every_recorded_series_is_read_by_somebody() -> None:
    dashboard = (ROOT / "deploy" / "grafana" / "dashboard.json").read_text()
    elsewhere = {name for rule in rules() for name in names(rule["expr"])} | names(dashboard)
    assert recordings().keys() - elsewhere == set()


@pytest.mark.parametrize("name", ["prometheus.yml", "loopback.yml"])
def test_promtool_accepts_the_configurations(tmp_path: Path, name: str) -> None:
    """The token is where the file says in a container only."""
    token = tmp_path / "token"
    token.write_text("secret\n")
    (tmp_path / "clients").mkdir()
    (tmp_path / "clients" / "one.yml").write_text('- targets: ["127.0.0.1:9465"]\n')
    shutil.copy(RULES, tmp_path)
    text = (PROMETHEUS / name).read_text()
    (tmp_path / name).write_text(text.replace("/run/secrets/http_token", str(token)))

    said = tool("promtool", "check", "config", tmp_path / name, folder=tmp_path)

    assert "SUCCESS" in said
    assert "WARNING" not in said


def test_the_two_configurations_differ_in_where_the_server_is_alone() -> None:
    near, far = config("loopback.yml"), config("prometheus.yml")
    server, others = far["scrape_configs"][0], far["scrape_configs"][1:]
    assert server.pop("authorization") == {"credentials_file": "/run/secrets/http_token"}
    assert server.pop("static_configs") != near["scrape_configs"][0].pop("static_configs")
    assert [server, *others] == near["scrape_configs"]
    for one in (near, far):
        one.pop("scrape_configs")
        one.pop("alerting")
    assert near == far


def test_the_manual_shows_the_configuration_that_is_shipped() -> None:
    (shown,) = [block.text for block in blocks("yaml") if "credentials_file" in block.text]
    assert yaml.safe_load(shown)["scrape_configs"] == config("prometheus.yml")["scrape_configs"][:1]


def test_the_names_of_the_jobs_are_those_that_the_rules_go_by() -> None:
    jobs = {job["job_name"] for job in config("prometheus.yml")["scrape_configs"]}
    assert jobs == {job for rule in rules() for job in re.findall(r'job="([^"]*)"', rule["expr"])}


def test_amtool_accepts_the_configuration() -> None:
    assert "SUCCESS" in tool("amtool", "check-config", "alertmanager.yml")


@pytest.mark.parametrize("severity", SEVERITIES)
def test_every_alert_goes_to_who_must_hear_of_it(severity: str) -> None:
    said = config("alertmanager.yml")
    routes = [route for route in said["route"]["routes"] if route["matchers"] == [f'severity="{severity}"']]
    assert [route["receiver"] for route in routes] == [RECEIVERS[severity]]


def test_amtool_routes_as_the_file_says() -> None:
    for severity, receiver in RECEIVERS.items():
        said = tool("amtool", "config", "routes", "test", "--config.file=alertmanager.yml", f"severity={severity}")
        assert said.split()[0] == receiver


def test_what_is_not_said_twice_is_said_once() -> None:
    """Matchers of inhibitions name alerts that there are."""
    rows = [
        row for rule in config("alertmanager.yml")["inhibit_rules"] for row in rule.values() if isinstance(row, list)
    ]
    named = {name for row in rows for text in row for name in re.findall(r"Roughfed\w+", text)}
    assert named - {"Roughfed"} <= set(alerts())


if __name__ == "__main__":
    RULES.write_text(written(), encoding="utf-8")
