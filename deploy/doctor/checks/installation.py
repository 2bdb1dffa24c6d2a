"""Is roughfed installed as it must be: Python, packages, compiled kernels, entropy, the umask."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from roughfed import __version__
from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.site import DoctorSite

PYTHON = (3, 11)
ENTROPY_BYTES = 32
KERNELS = "from roughfed.codec.chain import warm; from roughfed.codec.plan import Lanes; warm(Lanes(8, 15))"
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)\s*(?:>=\s*(?P<least>\d[\d.]*))?")


def installation(site: DoctorSite) -> Iterable[Finding]:
    """Everything that is the same whatever the directory."""
    yield python(sys.version_info[:3])
    yield packages(metadata.requires("roughfed") or ())
    yield kernels(site.left() - 1.0)
    yield entropy()
    yield umask()


def python(version: tuple[int, ...]) -> Finding:
    """The interpreter."""
    text = ".".join(map(str, version))
    if version < PYTHON:
        cure = f"install roughfed with Python {'.'.join(map(str, PYTHON))} or newer"
        return failure(f"roughfed needs a newer Python than {text}", measured=text, cure=cure, about="python")
    return ok(f"roughfed {__version__} on Python {text}", measured=text, about="python")


def packages(required: Iterable[str]) -> Finding:
    """What is installed against the ranges that roughfed declares."""
    wrong, shown = list[str](), list[str]()
    for text in required:
        match = _REQUIREMENT.fullmatch(text.strip())
        if match is None:  # with a marker: of an extra, such as the developers' tools
            continue
        try:
            here = metadata.version(match["name"])
        except metadata.PackageNotFoundError:
            wrong.append(f"{match['name']} is missing")
            continue
        shown.append(f"{match['name']} {here}")
        if match["least"] and numbers(here) < numbers(match["least"]):
            wrong.append(f"{match['name']} {here} is older than {match['least']}")
    if wrong:
        cure = "pip install --upgrade roughfed, in the environment that runs it"
        return failure("; ".join(wrong), measured=", ".join(shown), cure=cure, about="packages")
    sentence = f"all {len(shown)} packages are within the declared ranges"
    return ok(sentence, measured=", ".join(shown), about="packages")


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: `2.6.0+cpu` is (2, 6)."""
    found = [int(part) for part in re.findall(r"\d+", version.partition("+")[0].partition("rc")[0])]
    while found and found[-1] == 0:
        found.pop()
    return tuple(found)


def kernels(within_s: float, *, code: str = KERNELS) -> Finding:
    """The kernels of masked rounds, in a process of their own: a broken LLVM may take its process along."""
    cure = "pip install --force-reinstall numba llvmlite numpy; masked rounds cannot run without them"
    command = [sys.executable, "-P", "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=max(0.1, within_s))
    except subprocess.TimeoutExpired:
        slow = "let NUMBA_CACHE_DIR name a folder that roughfed may write, so that they are compiled once"
        return warning("the kernels were not compiled in time", cure=slow, about="kernels")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return failure(f"the kernels of masked rounds do not compile: {last[:200]}", cure=cure, about="kernels")
    return ok("the kernels of masked rounds compile and run", about="kernels")


def draw(size: int) -> bytes:
    """Random bytes, or BlockingIOError where the system has to gather some first."""
    return os.getrandom(size, os.GRND_NONBLOCK) if sys.platform == "linux" else os.urandom(size)


def entropy() -> Finding:
    """The operating system's source of secrets: it answers at once, and never twice the same."""
    try:
        drawn = {draw(ENTROPY_BYTES) for _ in range(2)}
    except BlockingIOError:
        cure = "wait until the system has gathered entropy (a virtual machine: give it virtio-rng)"
        return failure("the system has not gathered enough entropy for keys yet", cure=cure, about="entropy")
    if len(drawn) < 2:
        cure = "do not run roughfed here: every key would be known"
        return failure("the system's random bytes repeat themselves", cure=cure, about="entropy")
    return ok("the system's source of random bytes answers", about="entropy")


def mask_of(status: Path) -> int | None:
    """The umask by the kernel's word: asking with umask(2) sets it, and for every thread."""
    try:
        line = next(line for line in status.read_text().splitlines() if line.startswith("Umask:"))
        return int(line.split()[1], 8)
    except (OSError, StopIteration, ValueError):
        return None


def umask() -> Finding:
    """What others may do with new files; keys are 0600 whatever it is."""
    if (mask := mask_of(Path("/proc/self/status"))) is None:
        return skipped("the system does not tell the umask", about="umask")
    if not mask & 0o002:
        cure = "umask 022 before roughfed is started (UMask=0022 in a unit)"
        return warning(
            "everybody may write the files that are made here", measured=f"{mask:03o}", cure=cure, about="umask"
        )
    return ok("new files are not for everybody to write", measured=f"{mask:03o}", about="umask")
