"""`python -m tests.fuzz.drive [TARGET ...] --seconds 60`: atheris, one target after another (`make fuzz`).

Mutations are guided by coverage. A target's corpus stays in build/fuzz/TARGET, begun with its seeds; an input that
crashed is written beside it, and so is one that took five seconds or more memory than MEMORY_BYTES above the imports.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path("build/fuzz")
MEMORY_MB = 64
"""Above what a target needs before its first input: its imports, most of all."""

ABSENT = "make fuzz skipped: needs atheris (pip install atheris)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help="all of them without one")
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--inside", action="store_true", help="one target, in this process")
    args = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print(ABSENT)
        return 1 if os.environ.get("CI") == "true" else 0
    if args.inside:
        fuzz(args.targets[0], args.seconds)
    from tests.fuzz.targets import TARGETS

    return max(report(name, args.seconds) for name in args.targets or TARGETS)


def report(name: str, seconds: int) -> int:
    """Run a target in a process of its own, since libFuzzer ends the one it is in; say what it did."""
    command = [sys.executable, "-m", "tests.fuzz.drive", name, "--seconds", str(seconds), "--inside"]
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    figures = dict(row.removeprefix("stat::").split(":") for row in ran.stderr.splitlines() if row.startswith("stat::"))
    runs, peak = (figures.get(key, "?").strip() for key in ("number_of_executed_units", "peak_rss_mb"))
    print(f"{name:14} {runs:>10} inputs, peak {peak} MB" + (f", FAILED ({ran.returncode})" if ran.returncode else ""))
    if ran.returncode:
        print(ran.stderr[-4000:])
    return ran.returncode


def fuzz(name: str, seconds: int) -> None:
    """Never returns."""
    import atheris

    with atheris.instrument_imports(include=["roughfed"], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.test_fuzz import resident

    target, corpus = TARGETS[name], FOLDER / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:02}").write_bytes(seed)
        target.fuzz(seed)
    limit = (resident("VmRSS") >> 20) + MEMORY_MB
    flags = [f"-max_total_time={seconds}", "-timeout=5", f"-rss_limit_mb={limit}", "-print_final_stats=1"]
    flags += ["-max_len=16384", f"-artifact_prefix={FOLDER}/{name}-", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], target.fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
