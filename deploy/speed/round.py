"""`roughfed bench round`: what a round costs when nothing is trained."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from roughfed.deploy.speed import recompute_masked
from roughfed.deploy.speed.bare_stream import Floor, measure_floor
from roughfed.deploy.speed.federation import SECRET_SEED, Bench, add_client, prepare, running, wait_for_end
from roughfed.deploy.speed.measure import MIB, ProcessTrack, Sampler, machine
from roughfed.deploy.speed.options import RoundBenchOptions
from roughfed.deploy.speed.recompute import model_digests
from roughfed.errors import LocalProtocolError, RoughfedError
from roughfed.server.storage.store import ABSENT
from roughfed.types import Signed

AT_ONCE, PACE_S = 20, 0.5
"""The enrolment port takes a burst of 64 requests from an address, then 8 a second; a client makes three."""

WARM_UP = 1
"""Rounds that are played and not counted: connections, caches and files are fresh in the first one."""


@dataclass(frozen=True, slots=True)
class PlayedRound:
    """One committed round, as the journal has it; `absent` are those from whom nothing came in time."""

    number: int
    opened_at: float
    closed_at: float
    model_digest: bytes
    accepted: tuple[str, ...]
    upload_bytes: int
    download_bytes: int
    header: Signed
    absent: tuple[str, ...] = ()


def run_round_bench(options: RoundBenchOptions) -> dict[str, object]:
    """Play the rounds with real processes over mTLS and measure them.

    Returns:
        the figures; docs/benchmarks.md says what each of them means.

    Raises:
        ConfigError: the mode cannot be played with so few.
        RoughfedError: a process of the bench failed.
    """
    options.check()
    played, tracks = play(options)
    figures = report(options, played, tracks)
    if options.floor:
        figures |= against_floor(figures, measure_floor(options.clients, 4 * options.params))
    return figures | {"machine": machine()}


def play(options: RoundBenchOptions) -> tuple[list[PlayedRound], dict[str, ProcessTrack]]:
    """The rounds as the journal has them, and the memory and time of each process.

    Raises:
        RoughfedError: a process failed, or a round did not commit.
    """
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-", dir=options.folder) as temporary:
        bench = prepare(
            Path(temporary),
            params=options.params,
            clients=options.clients,
            rounds=options.rounds,
            server_sees=options.server_sees,
        )
        with Sampler() as sampler, running(bench):
            tracks = start_all(bench, options.clients, sampler)
            wait_for_end(bench, timeout_s=options.timeout_s)
        played = read_journal(bench.server_folder / "state" / "journal.db")
    if len(played) != options.rounds:
        raise RoughfedError(f"{len(played)} of {options.rounds} rounds were committed")
    return played, tracks


def against_floor(figures: Mapping[str, object], floor: Floor) -> dict[str, object]:
    """The bare stream, and how many times as much a round costs: in seconds, and (less noisy) in processor seconds."""
    seconds, cpu = (float(str(figures[key])) for key in ("seconds_per_round", "cpu_seconds_per_round"))
    return {
        "floor_seconds": floor.seconds,
        "floor_ratio": seconds / floor.seconds,
        "floor_cpu_seconds": floor.cpu_seconds,
        "floor_cpu_ratio": cpu / floor.cpu_seconds if floor.cpu_seconds else None,
    }


def start_all(bench: Bench, clients: int, sampler: Sampler) -> dict[str, ProcessTrack]:
    """The clients, as fast as the enrolment port lets them in; the server runs already."""
    tracks: dict[str, ProcessTrack] = {}
    if bench.server is not None:
        tracks["server"] = sampler.watch(bench.server.pid)
    for number in range(clients):
        if number >= AT_ONCE:
            outlives(bench, PACE_S)
        name = f"c{number:03d}"
        tracks[name] = sampler.watch(add_client(bench, name).pid)
    return tracks


def outlives(bench: Bench, seconds: float) -> None:
    """Return after so many seconds in which the server ran.

    Raises:
        RoughfedError: it ended.
    """
    if bench.server is None:
        raise LocalProtocolError("a bench without a server: use `running`")
    with suppress(subprocess.TimeoutExpired):
        raise RoughfedError(f"the bench's server ended with {bench.server.wait(timeout=seconds)}")


def read_journal(path: Path) -> list[PlayedRound]:
    """The committed rounds of a server's journal, oldest first."""
    sql = (
        "SELECT rounds.*, models.digest FROM rounds JOIN models ON models.round = rounds.round "
        "WHERE rounds.outcome = 'committed' AND rounds.summary IS NOT NULL ORDER BY rounds.round"
    )
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        return [_played(row) for row in db.execute(sql)]


def received_bytes(path: Path) -> int:
    """Bytes of all updates with a receipt, each once."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT sum(size_bytes) FROM receipts").fetchone()[0] or 0


def _played(row: sqlite3.Row) -> PlayedRound:
    summary, sets = json.loads(row["summary"]), json.loads(row["sets"])
    accepted = tuple(sorted(client for client, reason in sets.items() if reason == ""))
    traffic = (summary["upload_bytes"], summary["download_bytes"])
    header = Signed(row["header"], row["signature"], row["signer"])
    absent = tuple(sorted(client for client, reason in sets.items() if reason in ABSENT))
    times = (row["opened_at"], row["closed_at"])
    return PlayedRound(row["round"], *times, row["digest"], accepted, *traffic, header, absent)


def report(
    options: RoundBenchOptions, played: Sequence[PlayedRound], tracks: dict[str, ProcessTrack]
) -> dict[str, object]:
    """The figures of the rounds after the warm-up."""
    timed, payload = played[WARM_UP:], 4 * options.params
    shares = len(timed) * options.clients
    up, down = (sum(r.upload_bytes for r in timed) / shares, sum(r.download_bytes for r in timed) / shares)
    begin, end = played[WARM_UP - 1].closed_at, timed[-1].closed_at
    cpu = {name: track.cpu_between(begin, end) for name, track in tracks.items()}
    agents = [track for name, track in tracks.items() if name != "server"]
    commits = [r.closed_at for r in played]
    return {
        "bench": "round",
        "params": options.params,
        "clients": options.clients,
        "rounds": options.rounds,
        "server_sees": options.server_sees,
        "seconds_per_round": median(r.closed_at - r.opened_at for r in timed),
        "seconds_between_commits": median(b - a for a, b in pairwise(commits)),
        "upload_bytes_per_client_round": up,
        "download_bytes_per_client_round": down,
        "payload_ratio": (up + down) / payload,
        "server_peak_rss_mib": tracks["server"].peak_own / MIB,
        "server_vm_hwm_mib": tracks["server"].peak_resident / MIB,
        "agent_peak_rss_mib": max(track.peak_own for track in agents) / MIB,
        "agent_vm_hwm_mib": max(track.peak_resident for track in agents) / MIB,
        "cpu_seconds": sum(cpu.values()),
        "cpu_seconds_server": cpu["server"],
        "cpu_seconds_per_round": sum(cpu.values()) / len(timed),
        "cpu_seconds_per_client_round": sum(cpu.values()) / shares,
        "sum_exact": expected_digests(options, played) == [r.model_digest for r in played],
    }


def expected_digests(options: RoundBenchOptions, played: Sequence[PlayedRound]) -> list[bytes]:
    """The model after each round, computed again from the seeds: without a server, and without masks."""
    if options.server_sees == "updates":
        expected = model_digests(options.params, {r.number: r.accepted for r in played}, seed=0)
        return [expected[r.number] for r in played]
    rounds = [recompute_masked.JournaledRound(r.number, r.header, r.accepted) for r in played]
    return recompute_masked.model_digests(options.params, rounds, seeds=recompute_masked.Seeds(0, SECRET_SEED))[1:]
