"""A masked round of ours beside one of Flower's SecAgg+, in one run: 16 clients, a million parameters, 2 lost.

Flower plays in the Python that ROUGHFED_FLOWER_PYTHON names (an environment with flwr, apart from this one):
peer_secagg.py says what of it is timed. All seconds are processor seconds, least of three rounds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roughfed.codec.chain import decode_sum, encode
from roughfed.codec.plan import ChainParams, plan_lanes
from roughfed.deploy.plan_bytes import stages_up
from roughfed.secagg.client import ClientRound
from tests.bench.test_unmask import play

VARIABLE = "ROUGHFED_FLOWER_PYTHON"
SCRIPT = Path(__file__).with_name("peer_secagg.py")
SIZE, DIM, LOST, ROUNDS = 16, 1_000_000, 2, 3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def flower() -> dict[str, Any]:
    """What peer_secagg.py measured."""
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(f"needs {VARIABLE}: the python of an environment with flwr")
    wanted = {"--clients": SIZE, "--params": DIM, "--lost": LOST, "--threshold": 11, "--rounds": ROUNDS}
    options = [str(part) for pair in wanted.items() for part in pair]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([python, SCRIPT, *options], env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def working(monkeypatch: pytest.MonkeyPatch) -> dict[ClientRound, float]:
    """CPU seconds that each client's machine has worked, from its keys to its answer to unmask."""
    spent: dict[ClientRound, float] = {}
    for name in ("__init__", "receive", "mask"):
        method: Callable[..., Any] = getattr(ClientRound, name)

        def timed(machine: ClientRound, *args: Any, work: Callable[..., Any] = method, **more: Any) -> Any:
            start = time.thread_time()
            result = work(machine, *args, **more)
            spent[machine] = spent.get(machine, 0.0) + time.thread_time() - start
            return result

        monkeypatch.setattr(ClientRound, name, timed)
    return spent


def code(deltas: np.ndarray, bits: int) -> dict[str, float]:
    """CPU seconds of a client's codec and of the server's; relative error of the mean."""
    clip_norm = 1.001 * max(float(np.linalg.norm(delta)) for delta in deltas)  # nothing is clipped
    params = ChainParams(DIM, plan_lanes(SIZE, bits=bits), clip_norm, bytes(32))
    work, residual = np.empty(params.layout.padded, np.float32), np.zeros(DIM, np.float32)
    total, seconds = np.zeros(params.sent, np.uint64), []
    for at, delta in enumerate(deltas):
        start = time.thread_time()
        codes = encode(delta, residual, params, secret=bytes([at]) * 32, work=work).codes
        seconds.append(time.thread_time() - start)
        total += codes
    decode_sum(total, len(deltas), params)  # loads its kernels
    start = time.thread_time()
    mean = decode_sum(total, len(deltas), params)
    decode = time.thread_time() - start
    want = deltas.mean(axis=0, dtype=np.float64)
    error = float(np.linalg.norm(mean - want) / np.linalg.norm(want))
    return {"encode_s": min(seconds), "decode_s": decode, "error": error, "bytes": params.sent * bits // 8}


def ours(working: dict[ClientRound, float]) -> dict[str, float]:
    """The same round here: the codec, and every stage of the masked round.

    Our unmask is more than Flower's: it reads and adds up the uploads, which Flower does when it collects them, and
    checks every client's sketch.
    """
    deltas = np.random.default_rng(0).uniform(-0.01, 0.01, size=(SIZE, DIM)).astype(np.float32)[LOST:]
    codec, wide = code(deltas, 8), code(deltas, 16)
    runs = [play(SIZE, int(codec["bytes"]), lost=LOST, excluded=0, seed=seed) for seed in range(ROUNDS)]
    return {
        "unmask_s": min(seconds for _, seconds, _ in runs) + codec["decode_s"],
        "client_s": min(min(masking) for _, _, masking in runs) + codec["encode_s"],
        "client_whole_s": statistics.median(working.values()) + codec["encode_s"],
        "upload_bytes": codec["bytes"],
        "all_bytes": codec["bytes"] + stages_up(SIZE, sketch_bytes=128),
        "relative_error": codec["error"],
        "upload_bytes_16_bits": wide["bytes"],
        "relative_error_16_bits": wide["error"],
    }


def test_beside_flowers_secagg_plus(flower: dict[str, Any], working: dict[ClientRound, float]) -> None:
    here = ours(working)
    compared = ("unmask_s", "client_s", "client_whole_s", "upload_bytes", "all_bytes")
    ratios = {key: flower[key] / here[key] for key in compared}
    print(f"\nFlower: {json.dumps(flower)}")
    print(f"roughfed: {json.dumps({key: round(value, 5) for key, value in here.items()})}")
    print(f"Flower's, times ours: {json.dumps({key: round(value, 2) for key, value in ratios.items()})}")
    assert here["upload_bytes"] <= 0.26 * 4 * DIM
    assert here["unmask_s"] <= 0.05
    assert here["client_s"] <= 0.08
    assert ratios["unmask_s"] >= 20
    assert ratios["client_s"] >= 5
    assert ratios["all_bytes"] >= 7.5
