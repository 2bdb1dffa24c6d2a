"""The shipped configuration, rules and dashboard against a real Prometheus that scrapes a real masked run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .federation import PATIENCE_S, Cluster, environment, is_connected, write_toml
from .masked import FAMILY, masked_cluster
from .process import Process
from .scraper import SHIPPED, Scraper, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

HONEST, ROUNDS, PACE_S = 6, 5, 0.3
CLAIMS = ("--loss", "0.5", "--counts", "300,150", "--family", FAMILY)
TURNED = """
import sys
from roughfed.deploy import synthetic
from tests.e2e import synthetic_process as process
honest = synthetic.update_of
synthetic.update_of = lambda *seed: (-piece for piece in honest(*seed))
sys.exit(process.main())
"""
SETTINGS = {
    "server": {"http_token": True},
    "round": {"min_clients": HONEST + 1, "quorum": HONEST + 1, "evaluate_every": 1, "rounds": ROUNDS + 1},
    "trainer": {"method": "balanced-softmax", "prior": "global"},
    "codec": {"clip_norm": 0.5},
    "fairness": {"rule": "term"},
    "contribution": {"method": "cgsv"},
    "metrics": {"per_client": "all"},
}

JOBS = {"roughfed-server": 1, "roughfed-client": 1, "without-token": 0}
"""Whose page can be read."""
EXPECTED = {"ClientLeftOut"}
"""One client of seven is left out in each round."""
BUSY = {"JournalSlow", "DiskFilling"}
"""May be true of a machine that has other things to do."""

NO_GPU = "there is no GPU here"
NO_NUMBER = {
    "roughfed_eval_calibration_error_ratio": "synthetic clients do not say how sure they are",
    "roughfed_worse_than_alone_ratio": "nobody trains alone here",
    "roughfed_client_train_loss": "synthetic trainings have no loss",
    "roughfed_fleet_gpu_memory_bytes": NO_GPU,
    "roughfed_fleet_gpu_utilization_ratio": NO_GPU,
    "roughfed_client_gpu_memory_bytes": NO_GPU,
    "roughfed_client_gpu_utilization_ratio": NO_GPU,
}
"""Series that are there and say NaN after this run, and why."""


def dashboard() -> dict[str, str]:
    """Every query of the dashboard -> where it stands."""
    board = json.loads((SHIPPED.parent / "grafana" / "dashboard.json").read_text())
    panels = [each for panel in board["panels"] for each in (panel, *panel.get("panels", ()))]
    return {
        plain(target["expr"]): f"panel {panel['id']}, {panel['title']}"
        for panel in panels
        for target in panel.get("targets", ())
    }


def plain(expression: str) -> str:
    """An expression as Grafana asks it, of everything that there is."""
    return re.sub(r"\$(job|instance|client)\b", ".*", expression.replace("$__rate_interval", "1m"))


def recorded() -> dict[str, str]:
    groups = yaml.safe_load((SHIPPED / "roughfed.rules.yaml").read_text())["groups"]
    return {rule["record"]: "a recording rule" for group in groups for rule in group["rules"] if "record" in rule}


def start_attacker(cluster: Cluster, name: str) -> Process:
    """A client of the same kind, whose updates go the other way."""
    folder = cluster.client_folder(name)
    folder.mkdir()
    write_toml(folder / "client.toml", cluster.agreed({"http": {"enabled": False}}))
    args = ["client", "--dir", str(folder), "--params", str(cluster.params), "--pace", str(PACE_S), *CLAIMS]
    process = Process(
        name, [sys.executable, "-c", TURNED, *args], environment() | {"ROUGHFED_JOIN": cluster.invite(name)}
    )
    cluster.processes.append(process)
    return process


def without_data(scraper: Scraper) -> dict[str, str]:
    """Queries that no series, or none with a number, answers; but for those that cannot have one here."""
    found: dict[str, str] = {}
    for expression, where in {**dashboard(), **recorded()}.items():
        series = scraper.query(expression)
        if not series:
            found[expression] = f"{where}: no series"
        elif all(each["value"][1] == "NaN" for each in series) and not any(n in expression for n in NO_NUMBER):
            found[expression] = f"{where}: not a number"
    return found


def standing(status: dict[str, Any]) -> set[str]:
    """Alerts that are no matter of how busy this machine is."""
    return {alert["name"] for alert in status["alerts"]} - BUSY


def test_every_query_and_every_recording_rule_returns_data_of_a_real_run(tmp_path: Path) -> None:
    page = free_port()
    with masked_cluster(tmp_path, clients=HONEST, rounds=ROUNDS, settings=SETTINGS) as cluster:
        ports = cluster.start_server().ready()
        cluster.control(op="pause")
        token = cluster.place.state / "http.token"
        with Scraper(tmp_path / "prometheus", server=ports.http, token=token, clients=[page]) as scraper:
            for name in cluster.names:
                tables = {"http": {"enabled": name == "c0", "port": page if name == "c0" else 0}}
                cluster.start_client(name, pace_s=PACE_S, claims=CLAIMS, tables=tables)
            start_attacker(cluster, "mallory")
            with cluster.watch() as watch:
                watch.until(lambda s: sum(c["connected"] for c in s["clients"]) == HONEST + 1, timeout_s=2 * PATIENCE_S)
                assert scraper.until_nothing(lambda: {*JOBS} - {*scraper.up()}) == set()
                cluster.control(op="resume")
                watch.until(lambda s: s["round"] == ROUNDS, timeout_s=2 * PATIENCE_S)
                cluster.control(op="pause")
                watch.until(lambda s: s["model_version"] == ROUNDS and s["phase"] == "paused")
                status = watch.until(lambda s: standing(s) == EXPECTED)  # alerts are looked at beside the rounds
            assert is_connected(status, "mallory")
            excluded = {client["name"]: client["excluded"] for client in status["clients"]}

            last = f'sum(roughfed_rounds_total{{outcome="committed"}}) == {ROUNDS}'
            assert scraper.until_nothing(lambda: not scraper.query(last)) is False
            missing = scraper.until_nothing(lambda: without_data(scraper))
            assert missing == {}

            assert scraper.up() == JOBS
            assert excluded.pop("mallory") == ROUNDS
            assert set(excluded.values()) == {0}
            assert scraper.until_nothing(lambda: (scraper.alerts().keys() - BUSY) ^ EXPECTED) == set()
            assert {scraper.alerts()[name] for name in EXPECTED} == {"firing"}
            rules = [rule for group in scraper.ask("rules")["groups"] for rule in group["rules"]]
            assert {rule["name"]: rule["lastError"] for rule in rules if rule["health"] != "ok"} == {}
