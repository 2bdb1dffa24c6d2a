"""Fewer bytes up and down, between real processes: what the server ends with is what the seeds and the codecs say.

Every client feeds back what its codec did not say, and the server what its own quantiser did not: one forgotten or
doubled residual, on either side, and the digests differ.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from roughfed.codec import CODECS
from roughfed.codec.downlink import payload_bytes, quantise
from roughfed.deploy.synthetic import pieces
from roughfed.digest import content_digest
from roughfed.rng import derive

from .federation import KILLED, Cluster, value, write_toml
from .peer import enrol
from .test_download import Line

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

UPDATES = {"privacy": {"server_sees": "updates"}}
PARAMS = 600_000
"""A delta has 619 kB, a model 2.4 MB: more than one chunk."""


def cluster_with(folder: Path, codec: str, *, rounds: int = 3, params: int = PARAMS) -> Cluster:
    return Cluster(
        folder, rounds=rounds, params=params,
        settings={"codec": {"name": codec, "downlink": "int8"}} | UPDATES,
    )  # fmt: skip


def expected_digests(cluster: Cluster, codec: str) -> list[str]:
    """Digest of each version, computed again from the seeds, with error feedback on both sides."""
    row, size = CODECS[codec], cluster.params
    params, error = np.zeros(size, np.float32), np.zeros(size, np.float32)
    residuals = {name: np.zeros(size, np.float32) for name in cluster.names}
    digests = [content_digest(params.tobytes()).hex()]
    for number in range(1, cluster.rounds + 1):
        total = np.zeros(size, np.float32)
        for name in cluster.names:
            seed = derive(cluster.seed, "client", name, number)
            wanted = np.concatenate(list(pieces(size, seed))) + residuals[name]
            said = row.decode(row.encode(wanted), 0, size, size=size)
            residuals[name] = wanted - said
            total += said
        update = (params + total / np.float32(len(cluster.names))) - params
        quantise(update, error)
        params = params + update
        digests.append(content_digest(params.tobytes()).hex())
    return digests


def bytes_of(cluster: Cluster, direction: str) -> list[int]:
    """Payload bytes of each round, all clients together."""
    rows = cluster.rows("SELECT summary FROM rounds ORDER BY round")
    return [json.loads(row["summary"])[f"{direction}_bytes"] for row in rows]


@pytest.mark.parametrize("codec", ["fp16", "int8", "top-k"])
def test_updates_and_models_in_fewer_bytes(codec: str, tmp_path: Path) -> None:
    with cluster_with(tmp_path, codec) as cluster:
        server = cluster.start_server()
        server.ready()
        with cluster.watch() as watch:
            clients = cluster.start_clients(pace_s=0.2)
            watch.until(lambda s: s["model_version"] == 2)
            page = cluster.page("/metrics")
        assert server.wait() == 0, server.report("failed")
        assert [client.wait() for client in clients] == [0] * 3

        plain = 3 * 4 * PARAMS
        assert cluster.model_digests() == expected_digests(cluster, codec)
        assert bytes_of(cluster, "upload") == [3 * CODECS[codec].max_bytes(PARAMS)] * 3
        first, *rest = bytes_of(cluster, "download")
        assert first == plain
        assert all(count <= 0.30 * plain for count in rest)
        assert value(page, "roughfed_transfer_bytes_total", direction="up", codec=codec) > 0
        down = value(page, "roughfed_transfer_bytes_total", direction="down", codec="int8")
        assert 0 < down <= 2 * 0.30 * plain  # of the second round, and perhaps the third
        assert list((cluster.place.state / "spool").iterdir()) == []


@pytest.mark.parametrize("point", ["model-fetched:2", "trained:2", "update-saved:2", "receipt-got:2", "receipt-saved"])
def test_a_killed_client_says_nothing_twice_and_forgets_nothing(point: str, tmp_path: Path) -> None:
    with cluster_with(tmp_path, "top-k") as cluster:
        server = cluster.start_server()
        server.ready()
        others, killed = cluster.start_clients("c1", "c2"), cluster.start_client("c0", crash_at=point)
        assert killed.wait() == KILLED
        again = cluster.start_client("c0")
        assert server.wait() == 0, server.report("failed")
        assert [client.wait() for client in (*others, again)] == [0] * 3
        assert cluster.accepted() == dict.fromkeys((1, 2, 3), cluster.names)
        assert cluster.model_digests() == expected_digests(cluster, "top-k")


@pytest.mark.parametrize("point", ["model-written:2", "committed:2"])
def test_a_killed_server_quantises_the_same_step_again(point: str, tmp_path: Path) -> None:
    with cluster_with(tmp_path, "int8") as cluster:
        server = cluster.start_server(crash_at=point)
        server.ready()
        clients = cluster.start_clients()
        assert server.wait() == KILLED
        cluster.restart_server()
        assert cluster.server.wait() == 0, cluster.server.report("failed")
        assert [client.wait() for client in clients] == [0] * 3
        assert cluster.model_digests() == expected_digests(cluster, "int8")


def test_a_delta_over_a_line_that_broke_goes_on_where_it_ended(tmp_path: Path) -> None:
    params, chunk = 2_000_000, 1 << 20
    with Cluster(
        tmp_path, clients=1, rounds=3, params=params, settings={"codec": {"downlink": "int8"}} | UPDATES
    ) as cluster:
        server = cluster.start_server()
        server.ready()
        enrol(cluster, "c0")
        models = cluster.client_folder("c0") / "state" / "models"

        def arrived() -> bool:
            return any(delta.stat().st_size >= chunk for delta in models.glob("*.delta"))

        # In the second chunk of the first delta, which is two chunks long.
        cut_at = 4 * params + chunk + chunk // 2
        with Line(cluster.address, cut_at=cut_at, arrived=arrived) as line, cluster.watch() as watch:
            settings = {"client": {"server": line.address}, "http": {"enabled": False}}
            write_toml(cluster.client_folder("c0") / "client.toml", cluster.agreed(settings))
            client = cluster.start_client("c0", pace_s=0.5)
            watch.until(lambda s: s["model_version"] == 2)
            page = cluster.page("/metrics")
            assert [server.wait(), client.wait()] == [0, 0]
        assert client.find("download interrupted")
        assert value(page, "roughfed_transfer_resumes_total") == 1
        assert line.moved[1] < 2 * payload_bytes(params) - chunk // 2  # the rest of one delta, and another
        assert cluster.model_digests() == expected_digests(cluster, "identity")
