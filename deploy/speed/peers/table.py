"""The table of `roughfed bench peers`: figures of each system, and how many times ours they are. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from roughfed.deploy.speed.measure import MIB, ProcessTrack
from roughfed.deploy.speed.peers.notes import Rounds

OURS = "roughfed"

COLUMNS: tuple[tuple[str, str], ...] = (
    ("seconds_per_round", "s a round"),
    ("cpu_seconds_per_round", "CPU s a round"),
    ("server_peak_mib", "server MiB"),
)
TIMES_OURS = ("s, x ours", "CPU, x ours", "MiB, x ours")


@dataclass(frozen=True, slots=True)
class Row:
    """What one system cost.

    Attributes:
        system: its name.
        version: of its package.
        seconds_per_round: median of the rounds after the first, from one round's beginning to the next one's.
        fastest, slowest: of those rounds, seconds.
        cpu_seconds_per_round: user + system seconds of all its processes.
        server_peak_mib: highest RssAnon + RssShmem of its server's processes together.
    """

    system: str
    version: str
    seconds_per_round: float
    fastest: float
    slowest: float
    cpu_seconds_per_round: float
    server_peak_mib: float


def row_of(system: str, version: str, rounds: Rounds, track: ProcessTrack, server_peak: int) -> Row:
    """The row of a peer's run; `server_peak` in bytes."""
    return Row(
        system,
        version,
        seconds_per_round=rounds.seconds_per_round,
        fastest=min(rounds.seconds),
        slowest=max(rounds.seconds),
        cpu_seconds_per_round=track.cpu_between(*rounds.window) / len(rounds.seconds),
        server_peak_mib=server_peak / MIB,
    )


def middle(rows: Sequence[Row]) -> Row:
    """One row for several runs of the same system: medians, the very fastest and the very slowest round."""
    return Row(
        rows[0].system,
        rows[0].version,
        seconds_per_round=median(row.seconds_per_round for row in rows),
        fastest=min(row.fastest for row in rows),
        slowest=max(row.slowest for row in rows),
        cpu_seconds_per_round=median(row.cpu_seconds_per_round for row in rows),
        server_peak_mib=median(row.server_peak_mib for row in rows),
    )


def ratios(ours: Row, peers: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    """By system: each figure, times ours; None where ours is too small to divide by."""
    return {peer.system: {key: _times(peer, ours, key) for key, _ in COLUMNS} for peer in peers}


def _times(peer: Row, ours: Row, key: str) -> float | None:
    base = float(getattr(ours, key))
    return float(getattr(peer, key)) / base if base > 0 else None


def figures(ours: Row, peers: Sequence[Row]) -> dict[str, object]:
    """For `--json`."""
    return {"systems": {row.system: asdict(row) for row in (ours, *peers)}, "times_ours": ratios(ours, peers)}


def lines(ours: Row, peers: Sequence[Row]) -> list[str]:
    """The table for people, a row a line."""
    times = ratios(ours, peers)
    cells = [["", *(title for _, title in COLUMNS), "from .. to", *TIMES_OURS]]
    for row in (ours, *peers):
        told: Mapping[str, float | None] = times.get(row.system, {})
        cells.append(
            [
                f"{row.system} {row.version}",
                *(_shown(getattr(row, key)) for key, _ in COLUMNS),
                f"{_shown(row.fastest)} .. {_shown(row.slowest)}",
                *(_shown(told.get(key)) for key, _ in COLUMNS),
            ]
        )
    widths = [max(len(line[at]) for line in cells) for at in range(len(cells[0]))]
    return ["  ".join(_aligned(line, widths)).rstrip() for line in cells]


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """The name to the left, figures to the right."""
    return [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
