"""`python -m tests.fuzz.drive TARGET SECONDS`: atheris on one target (`make fuzz`), guided by coverage.

Its corpus stays in build/fuzz/TARGET, begun with the target's seeds; an input that crashed is written beside it. Ends
with 1 and the input's path on a crash, on an input slower than five seconds and above MEMORY_MB.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

MEMORY_MB = 1024
"""Of the whole process: the imports (numpy, numba, grpc) and libFuzzer's own tables are most of it."""


def main() -> None:
    name, seconds = sys.argv[1], int(sys.argv[2])
    with atheris.instrument_imports(include=["roughfed"], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    target, corpus = TARGETS[name], Path("build/fuzz") / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:02}").write_bytes(seed)
    flags = [f"-max_total_time={seconds}", "-timeout=5", f"-rss_limit_mb={MEMORY_MB}", "-print_final_stats=1"]
    flags += ["-max_len=16384", f"-artifact_prefix=build/fuzz/{name}-", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], target.fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
