"""`python -m tests.bench NAME --flags`: measure one thing; without a name, what there is."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType

import typer
import typer.main

from roughfed.deploy.cli.faults import tell
from roughfed.errors import RoughfedError
from tests.bench.command import register

BENCHES: Mapping[str, str] = MappingProxyType(
    {
        "speed": "speed.BENCH",
        "sessions": "load.sessions.SESSIONS",
        "dispatch": "load.sessions.DISPATCH",
        "slow-sockets": "load.slow_sockets.BENCH",
        "soak": "load.soak.BENCH",
        "cohorts": "load.cohorts.BENCH",
        "stragglers": "load.stragglers.BENCH",
        "bad-network": "load.bad_network.BENCH",
        "commands": "load.commands.BENCH",
        "shared-cores": "load.shared_cores.BENCH",
        "growth": "load.growth.BENCH",
        "overhead": "load.overhead.BENCH",
        "defence-speed": "load.defence_speed.BENCH",
        "trainer": "load.trainer_speed.BENCH",
        "accuracy": "rounds.accuracy.BENCH",
        "poisoning": "rounds.poisoning.BENCH",
        "free-riders": "rounds.free_riders.BENCH",
        "fairness": "rounds.fairness.BENCH",
        "contribution": "rounds.contribution.BENCH",
        "clusters": "rounds.clusters.BENCH",
        "tiers": "rounds.tiers.BENCH",
        "long-tail": "training.long_tail.BENCH",
        "noisy": "training.noisy.BENCH",
        "continual": "training.continual.BENCH",
        "federated-rough": "training.federated_rough.BENCH",
        "matrix": "training.matrix.BENCH",
        "live": "training.live.BENCH",
        "auto": "training.auto.BENCH",
        "drift": "training.drift.BENCH",
        "adapters": "training.adapters.BENCH",
        "personal": "training.personal.BENCH",
    }
)
"""Name -> where in tests.bench its Benchmark is."""


def build(wanted: Sequence[str] = tuple(BENCHES)) -> typer.Typer:
    """The application with some of the commands."""
    app = typer.Typer(
        help="Benchmarks of roughfed; docs/benchmarks.md has their figures.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(lambda: None)
    for name in wanted:
        module, _, bench = BENCHES[name].rpartition(".")
        register(app, name, getattr(import_module(f"tests.bench.{module}"), bench))
    return app


def main(arguments: Sequence[str]) -> int:
    """Run one; the exit codes are those of `roughfed`."""
    known = [name for name in arguments[:1] if name in BENCHES]  # the others need not be imported
    try:
        program = typer.main.get_command(build(known or tuple(BENCHES)))
        program.main(list(arguments) or ["--help"], prog_name="python -m tests.bench")
    except RoughfedError as error:
        tell(error, as_json="--json" in arguments, debug="--debug" in arguments)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
