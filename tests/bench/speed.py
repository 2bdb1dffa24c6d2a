"""Whether this tree is slower than an earlier version: both play the same rounds in turns (`make speed`).

The earlier version is installed under build/speed, in a virtual environment of its own that looks for everything but
roughfed here: what is compared is this project, and not what it stands on. Nothing is trained (`roughfed bench round`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Annotated

import typer

from roughfed.deploy.speed.measure import machine
from roughfed.errors import ConfigError, RoughfedError
from roughfed.registry import look_up
from tests.bench.command import Benchmark, Result, names

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "build" / "speed"
RESULT = ROOT / "tests" / "bench" / "results" / "speed.json"
PAGE = ROOT / "docs" / "benchmarks.md"
BETWEEN = re.compile(r"(?<=<!-- speed -->\n).*?(?=<!-- /speed -->)", re.DOTALL)

LIMIT = 0.10
"""So much more of a guarded figure is too much."""

FIGURES = {"cpu": "processor s a round", "seconds": "s a round", "bytes": "bytes a client and round"}
GUARDED = ("cpu", "bytes")
"""Seconds are told and not guarded: they say what else the machine does."""


@dataclass(frozen=True, slots=True)
class Case:
    """Rounds that both play."""

    clients: int
    params: int
    rounds: int
    server_sees: str = "updates"


CASES: Mapping[str, Case] = MappingProxyType(
    {
        "16 x 0.4 MB": Case(16, 100_000, 12),
        "16 x 0.4 MB, masked": Case(16, 100_000, 12, "sketches"),
        "8 x 40 MB": Case(8, 10_000_000, 5),
        "8 x 40 MB, masked": Case(8, 10_000_000, 5, "sketches"),
    }
)


@dataclass(frozen=True, slots=True)
class VersionsOptions:
    """What is compared, and how often."""

    ref: Annotated[str, typer.Option(help="A commit, tag or branch. [default: the last tag]")] = ""
    pairs: Annotated[int, typer.Option(min=1, help="Times that both play each case.")] = 5
    cases: Annotated[Sequence[str], names("Cases.")] = ()
    write: Annotated[bool, typer.Option(help="Write the result for docs/benchmarks.md, or --no-write.")] = True


Played = Mapping[str, float]
"""One run: a value for each of FIGURES."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure over all pairs.

    Attributes:
        before: median of the earlier version.
        now: median of this tree.
        ratio: median of the pairs' ratios, now over before: what both have of the machine's other work is in neither.
        least, most: of these ratios.
    """

    before: float
    now: float
    ratio: float
    least: float
    most: float


def compared(pairs: Sequence[tuple[Played, Played]]) -> dict[str, Compared]:
    """Each figure of pairs of (before, now)."""
    found: dict[str, Compared] = {}
    for key in FIGURES:
        before, now = ([each[at][key] for each in pairs] for at in (0, 1))
        ratios = [new / old for old, new in zip(before, now, strict=True)]
        found[key] = Compared(median(before), median(now), median(ratios), min(ratios), max(ratios))
    return found


def slower(results: Mapping[str, Mapping[str, Compared]], limit: float = LIMIT) -> list[str]:
    """What costs more than it may, in words."""
    return [
        f"{case}: {each[key].ratio:.2f} times the {FIGURES[key]}"
        for case, each in results.items()
        for key in GUARDED
        if each[key].ratio > 1 + limit
    ]


def table(results: Mapping[str, Mapping[str, Compared]]) -> str:
    """For docs/benchmarks.md: each figure now, and in brackets times before."""
    lines = ["| | " + " | ".join(FIGURES.values()) + " |", "|---|" + "---|" * len(FIGURES)]
    for case, each in results.items():
        cells = (f"{one.now:,.0f}" if key == "bytes" else f"{one.now:.3g}" for key, one in each.items())
        both = (f"{cell} ({one.ratio:.2f})" for cell, one in zip(cells, each.values(), strict=True))
        lines.append(f"| {case} | " + " | ".join(both) + " |")
    return "\n".join(lines) + "\n"


def run_versions_bench(options: VersionsOptions, *, say: Callable[[str, Mapping[str, Compared]], None]) -> Result:
    """Let both versions play every case in turns.

    Args:
        options: what is compared.
        say: gets each case's name and figures as soon as they are there.

    Returns:
        `results`: case -> figure -> Compared; `ref`: the commit; the machine.

    Raises:
        ConfigError: no such commit or case, or no tag.
        RoughfedError: a run failed, a sum was not exact, or this tree needs more than it may.
    """
    chosen = {name: look_up(CASES, name, key="--cases") for name in options.cases or CASES}
    commit = commit_of(options.ref)
    before = installed(commit)
    results: dict[str, dict[str, Compared]] = {}
    for name, case in chosen.items():
        pairs: list[tuple[Played, Played]] = []
        for number in range(options.pairs):
            order = (
                (before, sys.executable) if number % 2 == 0 else (sys.executable, before)
            )  # who is first has it colder
            told = {python: play(python, case) for python in order}
            pairs.append((told[before], told[sys.executable]))
        results[name] = compared(pairs)
        say(name, results[name])
    plain = {name: {key: asdict(one) for key, one in each.items()} for name, each in results.items()}
    result: Result = {"bench": "speed", "ref": commit, "pairs": options.pairs, "results": plain, "machine": machine()}
    if options.write:
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(BETWEEN.sub(lambda _: table(results), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    if found := slower(results):
        raise RoughfedError(f"slower than {commit[:12]}: {'; '.join(found)}")
    return result


def commit_of(ref: str) -> str:
    """The commit of a name, or of the last tag.

    Raises:
        ConfigError: there is none.
    """
    if not ref and not (ref := git("describe", "--tags", "--abbrev=0")):
        cure = "name what to compare with: make speed REF=a tag, branch or commit"
        raise ConfigError("no release is tagged yet", key="--ref", cure=cure)
    if not (commit := git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")):
        raise ConfigError(f"{ref} is no commit here", key="--ref", cure="see git tag, git branch or git log")
    return commit


def git(*arguments: str) -> str:
    """What git says in this repository; nothing where it refuses."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def installed(commit: str) -> str:
    """The Python of an environment that has the version of a commit.

    Raises:
        RoughfedError: it cannot be installed.
    """
    place = PLACE / commit[:12]
    python, done = place / "venv" / "bin" / "python", place / "done"
    if done.exists():
        return str(python)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    archive, source = place / "source.tar", place / "source"
    git("archive", "--output", str(archive), commit)
    with tarfile.open(archive) as file:
        file.extractall(source, filter="data")
    archive.unlink()
    venv.create(place / "venv", symlinks=True)
    (found,) = (place / "venv").glob("lib/python*/site-packages")
    (found / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth files are not read
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--ignore-installed",
    ]
    told = subprocess.run([*pip, "--no-build-isolation", str(source)], capture_output=True, text=True, check=False)
    if told.returncode:
        raise RoughfedError(f"{commit[:12]} cannot be installed: {told.stderr[-500:]}")
    done.touch()
    return str(python)


def play(python: str, case: Case) -> Played:
    """One run of one version.

    Raises:
        RoughfedError: it failed, or a committed model is not what the clients' seeds give.
    """
    flags = {
        "--params": case.params,
        "--clients": case.clients,
        "--rounds": case.rounds,
        "--server-sees": case.server_sees,
    }
    command = [python, "-m", "roughfed.deploy.cli", "bench", "round", "--no-floor", "--json"]
    command += [str(part) for flag in flags.items() for part in flag]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("ROUGHFED_", "PYTHONPATH"))}
    done = subprocess.run(command, cwd=PLACE, env=inherited, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RoughfedError(f"a run failed: {(done.stderr or done.stdout)[-500:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    if not told["sum_exact"]:
        raise RoughfedError("a committed model is not the sum of what the clients sent")
    sent = told["upload_bytes_per_client_round"] + told["download_bytes_per_client_round"]
    return {"cpu": told["cpu_seconds_per_round"], "seconds": told["seconds_per_round"], "bytes": sent}


def _line(name: str, figures: Mapping[str, Compared]) -> str:
    told = (f"{FIGURES[key]} {one.now:.4g}, {one.ratio:.2f} times" for key, one in figures.items())
    return f"{name:<20} {'; '.join(told)}"


BENCH = Benchmark(VersionsOptions, run_versions_bench, _line)
