"""/metrics and /healthz of a server and an agent while a run goes on: the counters add up with the journal."""

import json
import re
from pathlib import Path

import pytest

from roughfed.client import metrics as client_metrics
from roughfed.server import metrics as server_metrics

from .federation import Cluster, Process, is_connected, value

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]


def families(page: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))


def agent_port(agent: Process) -> int:
    return int(re.findall(r"metrics on http://127\.0\.0\.1:(\d+)/metrics", agent.wait_line("metrics on"))[0])


def test_the_counters_add_up_with_the_journal(tmp_path: Path) -> None:
    clients, rounds, size = 3, 2, 4 * 300_000
    with Cluster(tmp_path, clients=clients, rounds=rounds) as cluster:
        # A third round that is never opened, because the server is paused, keeps server and agents up after the second.
        cluster.configure({"round": {"rounds": rounds + 1}})
        server = cluster.start_server()
        server.ready()
        with cluster.watch() as watch:
            agents = [cluster.start_client(name, pace_s=0.5, http=True) for name in cluster.names]
            watch.until(lambda s: s["round"] == rounds)
            cluster.control(op="pause")
            status = watch.until(lambda s: s["model_version"] == rounds and s["phase"] == "paused")
            assert all(is_connected(status, name) for name in cluster.names)
            assert [client["machine"]["samples"] for client in status["clients"]] == [1] * clients
        page, health = cluster.page("/metrics"), json.loads(cluster.page("/healthz"))
        ports = [agent_port(agent) for agent in agents]
        agent_pages = [cluster.page("/metrics", port=port) for port in ports]
        agent_health = json.loads(cluster.page("/healthz", port=ports[0]))
        assert (agent_health["server_sees"], agent_health["modes_refused"]) == ("updates", 0)

        def total(name: str, **labels: str) -> float:
            return value(page, f"roughfed_{name}", **labels)

        assert families(page) >= {server_metrics.PREFIX + f.name for f in server_metrics.FAMILIES}
        receipts = len(cluster.rows("SELECT * FROM receipts"))
        assert receipts == clients * rounds
        assert total("updates_total", result="accepted") == receipts
        assert total("updates_rejected_total") == 0
        assert total("rounds_total", outcome="committed") == rounds
        assert total("round_current") == rounds
        assert total("transfer_bytes_total", direction="up") == clients * rounds * size
        assert total("transfer_bytes_total", direction="down") == clients * rounds * size
        assert total("transfer_raw_bytes_total") == 2 * clients * rounds * size
        assert total("transfer_resumes_total") == 0
        assert total("clients", state="connected") == clients
        assert total("grpc_streams_active") == clients
        assert total("grpc_server_handled_total", method="PutUpdate", code="OK") == receipts
        assert total("dispatch_seconds_count") == clients * rounds
        assert total("enrolments_total", result="enrolled") == clients
        assert total("journal_commit_seconds_count") > receipts / clients
        assert total("client_updates_total", client="c1") == rounds
        assert health["status"] == "ok"
        assert health["round"] == rounds

        for agent_page in agent_pages:
            assert value(agent_page, "roughfed_client_session_connected") == 1
            assert value(agent_page, "roughfed_client_rounds_total", verdict="accepted") == rounds
            assert value(agent_page, "roughfed_client_transfer_bytes_total", direction="up") == rounds * size
            assert value(agent_page, "roughfed_client_transfer_bytes_total", direction="down") == rounds * size
            assert value(agent_page, "roughfed_client_train_seconds_count") == rounds
            assert families(agent_page) >= {client_metrics.PREFIX + f.name for f in client_metrics.FAMILIES}
        assert agent_health == {
            "status": "ok", "checks": {"running": True}, "connected": True, "phase": "idle",
            "server_sees": "updates", "modes_refused": 0, "mode_refused": "",
        }  # fmt: skip
        cluster.control(op="resume")
        assert [p.wait() for p in (server, *agents)] == [0, 0, 0, 0]
