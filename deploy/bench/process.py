"""`python -m roughfed.deploy.bench.process server|client`: one process of a bench or of a fault test, without torch.

Everything but the training is the real thing: the same server, agent, certificates and files as behind the CLI.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from roughfed import logs
from roughfed.crypto import join_line
from roughfed.deploy.bench.clock import SignalledClock
from roughfed.deploy.bench.synthetic import SyntheticOrigin, SyntheticTrainer
from roughfed.errors import ConfigError, RoughfedError

if TYPE_CHECKING:
    from roughfed.config.client import ClientConfig
    from roughfed.server.app import Ports


def main() -> int:
    """Run one process; a server prints its ports once they are open, and either prints why it ended."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before grpc is imported; our own errors say what it would print
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("server", "client"))
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--params", type=int, required=True)
    parser.add_argument("--pace", type=float, default=0.0, help="client: seconds that each training takes at least")
    parser.add_argument("--examples", type=int, default=1, help="client: number of examples that it claims")
    parser.add_argument("--counts", default="", help="client: examples of each class that it claims, such as 3,5")
    parser.add_argument("--weight", type=float, default=1.0, help="client: the weight class that it finds right")
    parser.add_argument("--loss", type=float, default=0.0, help="client: loss that it claims on held-out data")
    parser.add_argument("--family", default="", help="client: whose updates are much like its own")
    parser.add_argument("--fresh", action="store_true", help="server: draw the first models; else they are zeros")
    parser.add_argument("--upstream", action="store_true", help="server: an edge; $ROUGHFED_UPSTREAM is its join line")
    parser.add_argument("--no-ca", action="store_true", help="server: the CA is elsewhere; it was enrolled before")
    parser.add_argument("--clock", default="", help="client: stand at this moment; SIGUSR1 jumps to what is waited for")
    parser.add_argument("--secret-seed", type=int, help="client: what its secrets follow from")
    args = parser.parse_args()
    logs.setup(level=os.environ.get("ROUGHFED_LOG", "INFO"), json=True)
    try:
        end = serve(args) if args.role == "server" else take_part(args)
    except RoughfedError as error:
        print(f"error: {error.reason}: {error}", file=sys.stderr)
        if isinstance(error, ConfigError) and error.cure:
            print(f"cure: {error.cure}", file=sys.stderr)
        return error.exit_code
    print(end, flush=True)
    return 0


def serve(args: argparse.Namespace) -> str:
    """Be a server; each role loads its own side only, as behind the CLI."""
    from roughfed.deploy import aggregator

    config = aggregator.load(args.dir, {})
    origin = SyntheticOrigin(args.params)
    origin.fresh = args.fresh
    above = membership_of(args.dir) if args.upstream else None
    return aggregator.run_server(args.dir, config, origin, ca=not args.no_ca, on_ready=announce, above=above)


def take_part(args: argparse.Namespace) -> str:
    """Be a client."""
    from roughfed.deploy import agent

    line = join_line.parse(text) if (text := os.environ.pop("ROUGHFED_JOIN", "")) else None
    counts = [int(count) for count in args.counts.split(",") if count]
    told = {"counts": counts, "weight": args.weight, "family": args.family}
    trainer = SyntheticTrainer(args.params, pace_s=args.pace, examples=args.examples, **told)
    trainer.loss = args.loss
    secret = secret_of_seed(args.secret_seed, args.dir)
    how: agent.How = {"secret": secret, "training_seed": lambda job: job.seed}  # updates that a test can make again
    if args.clock:
        how["clock"] = SignalledClock(args.clock)
    config = agent.load(args.dir, {})
    return agent.run_blocking(args.dir, config, trainer, line=line, **how)


def membership_of(folder: Path) -> ClientConfig:
    """Of an edge, in the federation above."""
    from roughfed.deploy.edge.run import VARIABLE, membership

    return membership(folder, join_line.parse(text) if (text := os.environ.pop(VARIABLE, "")) else None)


def secret_of_seed(seed: int | None, folder: Path) -> Callable[[bytes], bytes]:
    """Where the secrets of masked rounds come from: the operating system or, with a seed, whoever wants to know them.

    Only a test gives a seed; nothing behind the CLI can.
    """
    from roughfed.client.context import fresh_secret

    if seed is None:
        return fresh_secret
    from roughfed.client.members import credential_files
    from roughfed.deploy.agent import Place
    from roughfed.deploy.bench.recompute_masked import round_secret

    return lambda header_digest: round_secret(seed, credential_files.load(Place(folder).papers).name, header_digest)


def announce(ports: Ports) -> None:
    """Say where the server listens, for whoever started it."""
    print(f"listening {json.dumps(asdict(ports))}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
