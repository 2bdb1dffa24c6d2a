"""A masked run with evaluation sets every family that it can: what is not on the page is on a list, with the reason."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from roughfed.client import metrics as client_metrics
from roughfed.server import metrics as server_metrics
from roughfed.server.metrics.client_series import LIMITS
from roughfed.telemetry import Family

from .federation import value
from .masked import masked_cluster
from .test_metrics_live import agent_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

MOST_SERIES = 500
"""Beside those of single clients, however many there are of them."""

NO_GPU = "there is no GPU here"
UNSET = {
    "roughfed_eval_calibration_error_ratio": "synthetic clients do not say how sure they are",
    "roughfed_worse_than_alone_ratio": "nobody trains alone here",
    "roughfed_defence_weight_ratio": "the default defence leaves out, and weighs nobody",
    "roughfed_tier_clients": "no tiers of clients",
    "roughfed_tier_upload_bytes": "no tiers of clients",
    "roughfed_class_clients": "no tiers of clients",
    "roughfed_class_upload_bytes": "no tiers of clients",
    "roughfed_cluster_clients": "no clusters of clients",
    "roughfed_fleet_gpu_memory_bytes": NO_GPU,
    "roughfed_fleet_gpu_utilization_ratio": NO_GPU,
    "roughfed_client_gpu_memory_bytes": NO_GPU,
    "roughfed_client_gpu_utilization_ratio": NO_GPU,
    "roughfed_client_train_loss": "synthetic trainings have no loss",
}
"""Families without a value after this run, and why."""


def unset(page: str, prefix: str, families: tuple[Family, ...]) -> set[str]:
    """Families without a sample that is a number; of a histogram, without one that something was put into."""
    known: set[str] = set()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            put = family.type != "histogram" or (sample.name.endswith("_count") and sample.value > 0)
            if put and not math.isnan(sample.value):
                known.add(family.name + ("_total" if family.type == "counter" else ""))
    return {prefix + family.name for family in families} - known


def series(page: str) -> list[str]:
    return [line for line in page.splitlines() if line and not line.startswith("#")]


def test_every_family_is_set_by_a_masked_run(tmp_path: Path) -> None:
    clients, rounds = 5, 3
    settings = {
        "round": {"min_clients": clients, "evaluate_every": 1, "rounds": rounds + 1},
        "fairness": {"rule": "term"},
        "contribution": {"method": "cgsv"},
        "reward": {"levels": [0.5, 1.0]},
        "metrics": {"per_client": "all"},
    }
    with masked_cluster(tmp_path, clients=clients, rounds=rounds, settings=settings) as cluster:
        server = cluster.start_server()
        server.ready()
        with cluster.watch() as watch:
            claims = ["--loss", "0.5", "--counts", "3,5"]
            agents = [cluster.start_client(name, pace_s=0.2, http=True, claims=claims) for name in cluster.names]
            watch.until(lambda s: s["round"] == rounds, timeout_s=60)
            cluster.control(op="pause")
            status = watch.until(lambda s: s["model_version"] == rounds and s["phase"] == "paused")
            told_of = [client["machine"] for client in status["clients"]]
            assert all(machine["train_seconds"] >= 0.2 and machine["rss_bytes"] > 1 << 20 for machine in told_of)
            assert [machine["samples"] for machine in told_of] == [None] * clients  # behind masks nobody says so
            cluster.page("/healthz")
            pages: list[str] = []

            def told(_: object) -> bool:
                pages.append(cluster.page("/metrics"))
                shown = ("fleet_resident_bytes", "paused", "contribution_clients", "reward_quality_ratio")
                return all(value(pages[-1], f"roughfed_{name}") > 0 for name in shown)

            watch.until(told)
            page = pages[-1]
            agent_pages = [cluster.page("/metrics", port=agent_port(agent)) for agent in agents]

        missing = unset(page, server_metrics.PREFIX, server_metrics.FAMILIES)
        for agent_page in agent_pages:
            missing |= unset(agent_page, client_metrics.PREFIX, client_metrics.FAMILIES)
        assert missing == UNSET.keys()

        of_clients = [line for line in series(page) if 'client="' in line]
        assert len(of_clients) <= 4 * (LIMITS["all"] + 1)
        assert len(series(page)) - len(of_clients) <= MOST_SERIES
        assert len(server_metrics.FAMILIES) >= 40
        assert max(len(series(agent_page)) for agent_page in agent_pages) <= 300

        assert value(page, "roughfed_clients", state="connected") == clients
        assert value(page, "roughfed_clients_needed") == clients
        assert value(page, "roughfed_participants", phase="configure") == clients
        assert value(page, "roughfed_paused") == 1
        cluster.control(op="resume")
        assert [process.wait(timeout_s=60) for process in (server, *agents)] == [0] * (clients + 1)
