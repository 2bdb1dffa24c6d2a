"""A server whose run is over goes on serving, where it is told to; clients that stay ask it less and less often."""

from pathlib import Path
from urllib.request import urlopen

import pytest

from roughfed.client.connection.reconnect import LATEST_S, NEXT_RUN_S, AfterRuns

from .federation import Cluster, value

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]


def test_page_and_metrics_are_there_until_it_is_stopped(tmp_path: Path) -> None:
    settings = {"server": {"stay": True, "http": True, "http_port": 0}}
    with Cluster(tmp_path, rounds=1, settings=settings) as cluster:
        server = cluster.start_server()
        port = server.ready().http
        clients = cluster.start_clients()
        server.wait_line("this server stays")

        assert [client.wait() for client in clients] == [0, 0, 0]
        assert cluster.control(op="status")["finished"] == "rounds"
        with cluster.watch() as watch:  # gauges are told at most once a second
            watch.until(lambda _: value(page(port), "roughfed_clients_needed") == 0.0)
        assert cluster.control(op="stop") == {"stopping": True}
        assert (server.wait(), server.lines[-1]) == (0, "rounds")


def page(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def test_a_client_that_stays_is_in_less_of_a_hurry_each_time() -> None:
    after = AfterRuns()
    pauses = [after.over("a").after_s for _ in range(7)]
    assert pauses[0] == NEXT_RUN_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == LATEST_S
    assert after.over("b").after_s == NEXT_RUN_S
