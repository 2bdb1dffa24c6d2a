"""What the system lets this process have: open files, memory, processors."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from roughfed.cores import cores_here, folder_of_places, holders, share_of
from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.requirements import FILES_OF_OWN, needs
from roughfed.deploy.doctor.site import DoctorSite
from roughfed.descriptors import WANTED
from roughfed.errors import ConfigError

MIB = 1 << 20
CGROUP = Path("/sys/fs/cgroup")
NO_LIMIT = resource.RLIM_INFINITY


def limits(site: DoctorSite) -> Iterable[Finding]:
    """Against what the run needs."""
    wanted = needs(site)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = of_process(site.pid) or (hard, hard)  # a process of ours raises its limit as far as it may
    yield open_files(soft, hard, max(wanted.files, WANTED) if site.federation is not None else wanted.files)
    yield memory(available(), wanted.memory_bytes)
    yield processors(site)


def of_process(pid: int | None, *, proc: Path = Path("/proc")) -> tuple[int, int] | None:
    """Soft and hard limit of the process that runs here: a unit may give it others than this shell has."""
    if pid is None:
        return None
    try:
        text = (proc / str(pid) / "limits").read_text()
        words = next(line for line in text.splitlines() if line.startswith("Max open files")).split()[3:5]
        soft, hard = (NO_LIMIT if word == "unlimited" else int(word) for word in words)
    except (OSError, StopIteration, ValueError):
        return None
    return soft, hard


def open_files(soft: int, hard: int, wanted: int) -> Finding:
    """Sockets and files that may be open at once."""
    measured = f"{'no limit' if soft == NO_LIMIT else soft}, about {wanted} wanted"
    if soft != NO_LIMIT and soft < wanted:
        ceiling = "" if hard == NO_LIMIT or hard >= wanted else f" (the hard limit is {hard}: ask root)"
        cure = f"ulimit -n {max(wanted, WANTED)} before the start{ceiling}; LimitNOFILE= in a unit"
        state = failure if soft < FILES_OF_OWN else warning
        return state("too few files may be open at once", measured=measured, cure=cure, about="open files")
    return ok("enough files may be open at once", measured=measured, about="open files")


def available(*, meminfo: Path = Path("/proc/meminfo"), cgroup: Path = CGROUP) -> int | None:
    """Bytes that can still be had: of the machine, or of the container if that has less; None if it is not told."""
    found = list[int]()
    with suppress(OSError, ValueError, IndexError):
        line = next((x for x in meminfo.read_text().splitlines() if x.startswith("MemAvailable:")), "")
        found.append(int(line.split()[1]) * 1024)
    with suppress(OSError, ValueError):  # "max" is no number
        found.append(int((cgroup / "memory.max").read_text()) - int((cgroup / "memory.current").read_text()))
    return max(0, min(found)) if found else None


def memory(free: int | None, wanted: int) -> Finding:
    """Memory against what the model needs."""
    if free is None:
        return skipped("the system does not tell how much memory is free", about="memory")
    measured = f"{free / MIB:.0f} MiB available, about {wanted / MIB:.0f} MiB wanted"
    if free < wanted:
        cure = "end other programs, give the container more, or train a smaller model ([model] adapters)"
        return warning("memory may not suffice", measured=measured, cure=cure, about="memory")
    return ok("there is memory enough", measured=measured, about="memory")


def processors(site: DoctorSite) -> Finding:
    """Threads of the trainer: its share of the processors."""
    from roughfed.deploy.cli.processes import threads_here

    here = cores_here()
    try:
        threads = threads_here(site.client.device.threads if site.client else 0) or _share(site)
    except ConfigError as error:
        return failure(str(error), cure=error.cure, about="processors")
    if threads > here:
        cure = "device.threads = 0 in client.toml takes as many as there are"
        return warning(f"{threads} threads on {here} processors", measured=str(threads), cure=cure, about="processors")
    return ok(f"the trainer uses {threads} of {here} processors", measured=str(threads), about="processors")


def _share(site: DoctorSite) -> int:
    """Of the processors, among the trainers that run now and this one."""
    with suppress(OSError):  # nobody has run one yet
        return share_of(holders(folder_of_places()) + (not site.running))
    return share_of(1)
