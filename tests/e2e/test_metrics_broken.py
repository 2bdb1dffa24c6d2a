"""A run whose telemetry fails at everything is a run like any other: the same rounds, the same models."""

from __future__ import annotations

from pathlib import Path
from urllib.error import HTTPError

import pytest

from . import federation
from .broken import broken_bench
from .masked import is_exact, masked_cluster, verdicts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_a_masked_run_does_not_care(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "BENCH", broken_bench())
    settings = {"round": {"evaluate_every": 1}, "contribution": {"method": "cgsv"}, "metrics": {"per_client": "all"}}
    with masked_cluster(tmp_path, clients=4, rounds=1, settings=settings) as cluster:
        server = cluster.start_server()
        server.ready()
        with pytest.raises(HTTPError, match="500"):  # only the page itself says so
            cluster.page("/metrics")
        claims = ["--loss", "0.5", "--counts", "3,5"]
        clients = [cluster.start_client(name, claims=claims) for name in cluster.names]
        assert [process.wait(timeout_s=60) for process in (server, *clients)] == [0] * 5
        assert verdicts(cluster) == {1: dict.fromkeys(cluster.names, "")}
        assert is_exact(cluster)
        for process in (server, *clients):
            assert process.find("not recorded: ")
            assert len(process.find("not recorded: ")) < 60, "each is said once"
