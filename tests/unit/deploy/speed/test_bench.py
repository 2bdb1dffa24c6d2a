"""The bench's own arithmetic: a wrong ruler would make every figure wrong."""

import os

import numpy as np
import pytest

from roughfed.deploy.speed import bare_stream
from roughfed.deploy.speed.measure import ProcessTrack, cpu_seconds, own_bytes, percentile, status_bytes
from roughfed.deploy.speed.options import RoundBenchOptions
from roughfed.deploy.speed.recompute import model_digests
from roughfed.deploy.speed.round import run_round_bench
from roughfed.deploy.synthetic import BLOCK, SLICE, pieces
from roughfed.digest import content_digest
from roughfed.errors import ConfigError
from roughfed.rng import derive


def test_cpu_seconds_are_interpolated_between_samples() -> None:
    track = ProcessTrack(times=[10.0, 20.0, 30.0], cpu=[1.0, 3.0, 3.0])

    assert track.cpu_at(15.0) == 2.0
    assert track.cpu_between(12.5, 25.0) == 1.5
    assert (track.cpu_at(0.0), track.cpu_at(99.0)) == (1.0, 3.0)


@pytest.mark.parametrize(("share", "wanted"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_percentile_is_the_nearest_rank(share: float, wanted: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == wanted


def test_status_lines_are_bytes() -> None:
    assert status_bytes("Name:\tpython kB\nVmHWM:\t   12 kB\nRssAnon:\t 3 kB\nThreads:\t4\n") == {
        "VmHWM": 12288,
        "RssAnon": 3072,
    }


def test_own_memory_and_time_of_this_process() -> None:
    before, ballast = (
        own_bytes(os.getpid()),
        np.ones(1 << 28, dtype=np.uint8),
    )  # no free page of an earlier test is so large

    assert own_bytes(os.getpid()) - before > 0.9 * ballast.nbytes
    assert cpu_seconds(os.getpid()) > 0


@pytest.mark.parametrize("size", [1, bare_stream.CHUNK, 3 * bare_stream.CHUNK + 5])
def test_the_bare_stream_sends_every_byte(size: int) -> None:
    sent = list(bare_stream.pieces(bytes(size), size))

    assert sum(map(len, sent)) == size
    assert max(map(len, sent)) <= bare_stream.CHUNK


def test_no_two_pieces_of_an_update_are_alike() -> None:
    found = [piece.tobytes() for piece in pieces(4 * SLICE + 7, seed=1)]

    assert [len(piece) for piece in found] == [4 * SLICE] * 4 + [28]
    assert len(set(found)) == 5
    assert found[0][: 4 * BLOCK] != found[1][: 4 * BLOCK]


def test_models_are_recomputed_from_the_seeds() -> None:
    size, names = SLICE + 3, ("a", "b", "c")

    def update(name: str, number: int) -> np.ndarray:
        return np.concatenate(list(pieces(size, derive(7, "client", name, number))))

    first = (update("a", 1) + update("b", 1) + update("c", 1)) / np.float32(3)
    second = first + update("b", 2)

    assert model_digests(size, {1: names, 2: ("b",)}, seed=7) == {
        1: content_digest(first.tobytes()),
        2: content_digest(second.tobytes()),
    }


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (RoundBenchOptions(params=10, clients=2, rounds=2, server_sees="sums"), "2 clients are too few to hide in"),
        (RoundBenchOptions(params=10, clients=2, rounds=2, server_sees="everything"), "everything"),
        (RoundBenchOptions(params=10, clients=2, rounds=1), "rounds"),
        (RoundBenchOptions(params=0, clients=2, rounds=2), "params"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: RoundBenchOptions, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        run_round_bench(options)
