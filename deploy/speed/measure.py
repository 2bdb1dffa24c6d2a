"""What processes cost, read from /proc: processor time and memory, sampled by one thread of the bench.

Memory is counted as RssAnon + RssShmem: what the process holds itself. Pages of files that it reads, writes or maps
belong to the page cache and can be dropped at any time; VmHWM, which counts them too, is reported beside it.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

INTERVAL_S = 0.05
MIB = 1 << 20


@dataclass
class ProcessTrack:
    """One process over time.

    Attributes:
        times: Unix seconds of each sample.
        cpu: user + system seconds since its start, at each sample.
        own: RssAnon + RssShmem at each sample of a single process, bytes.
        peak_own: highest RssAnon + RssShmem seen, bytes.
        peak_resident: VmHWM at the last sample, bytes.
    """

    times: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])
    own: list[int] = field(default_factory=list[int])
    peak_own: int = 0
    peak_resident: int = 0

    def cpu_at(self, moment: float) -> float:
        """Seconds spent until `moment` (Unix), interpolated between two samples."""
        if not self.times:
            return 0.0
        after = bisect_left(self.times, moment)
        if after == 0 or after == len(self.times):
            return self.cpu[min(after, len(self.times) - 1)]
        begin, end = self.times[after - 1], self.times[after]
        share = (moment - begin) / (end - begin)
        return self.cpu[after - 1] + share * (self.cpu[after] - self.cpu[after - 1])

    def cpu_between(self, begin: float, end: float) -> float:
        """Seconds spent between two moments (Unix)."""
        return self.cpu_at(end) - self.cpu_at(begin)


class Sampler:
    """Samples processes until it is left: `with Sampler() as sampler: sampler.watch(process.pid)`."""

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        """Nothing is watched yet; a look each `interval_s` seconds."""
        self._interval_s = interval_s
        self.tracks: dict[int, ProcessTrack] = {}
        self.families: dict[int, ProcessTrack] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Sampler:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; the tracks stay."""
        self._done.set()
        self._thread.join()

    def watch(self, pid: int) -> ProcessTrack:
        """Sample a process from now on."""
        self.tracks[pid] = track = ProcessTrack()
        return track

    def watch_family(self, pid: int) -> ProcessTrack:
        """Sample the processor time of a process and all its descendants together, from now on."""
        self.families[pid] = track = ProcessTrack()
        return track

    def _run(self) -> None:
        while not self._done.wait(self._interval_s):
            for pid, track in list(self.tracks.items()):
                sample(pid, track)
            for pid, track in list(self.families.items()):
                track.times.append(time.time())
                track.cpu.append(family_seconds(pid))


def sample(pid: int, track: ProcessTrack) -> None:
    """Add one sample; nothing is added once the process is gone."""
    try:
        spent = cpu_seconds(pid)
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return
    figures = status_bytes(status)
    if "RssAnon" not in figures:  # it has ended and only waits for its parent
        return
    track.times.append(time.time())
    track.cpu.append(spent)
    track.own.append(figures["RssAnon"] + figures["RssShmem"])
    track.peak_own = max(track.peak_own, track.own[-1])
    track.peak_resident = figures["VmHWM"]


def cpu_seconds(pid: int) -> float:
    """User + system seconds of a process since its start; the kernel counts in hundredths."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # its name may hold spaces
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> set[int]:
    """A process and its descendants that are alive."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(FileNotFoundError, ProcessLookupError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def family_seconds(pid: int) -> float:
    """Processor seconds of a process and of its descendants that are alive."""
    total = 0.0
    for member in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            total += cpu_seconds(member)
    return total


def status_bytes(text: str) -> dict[str, int]:
    """The entries of /proc/PID/status that are given in kB, as bytes."""
    rows = (line.split() for line in text.splitlines() if line.endswith(" kB"))
    return {row[0].rstrip(":"): 1024 * int(row[1]) for row in rows if len(row) == 3 and row[1].isdecimal()}


def own_bytes(pid: int) -> int:
    """RssAnon + RssShmem of a process now."""
    figures = status_bytes(Path(f"/proc/{pid}/status").read_text())
    return figures["RssAnon"] + figures["RssShmem"]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed (nearest rank); 0.0 of none."""
    if not values:
        return 0.0
    rank = max(1, -int(-share * len(values) // 1))
    return sorted(values)[rank - 1]


def machine() -> dict[str, object]:
    """What the figures were measured on; no names of hosts or people."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = (line.partition(":") for line in info.read_text().splitlines())
        model = next((value.strip() for key, _, value in lines if key.strip() == "model name"), model)
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
    }
