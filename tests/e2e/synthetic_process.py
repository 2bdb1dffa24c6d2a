"""`python -m tests.e2e.synthetic_process server|client`: one process of a federation of these tests, without torch.

As `roughfed.deploy.speed.process`, with what a test wants to claim, and a client whose clock it can drive.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from roughfed.crypto import join_line
from roughfed.deploy.speed.process import announce, arguments, ended, secret_of_seed
from roughfed.deploy.synthetic import SyntheticOrigin, SyntheticTrainer
from tests.clock import SignalledClock

if TYPE_CHECKING:
    from roughfed.config.client import ClientConfig


def main() -> int:
    parser = arguments()
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
    parser.add_argument("--secret-seed", type=int, help="client: what its secrets follow from; else from the system")
    args = parser.parse_args()
    return ended(lambda: serve(args) if args.role == "server" else take_part(args))


def serve(args: argparse.Namespace) -> str:
    """Be a server; each role loads its own side only, as behind the CLI."""
    from roughfed.deploy import aggregator

    config = aggregator.load(args.dir, {})
    origin = SyntheticOrigin(args.params)
    origin.fresh = args.fresh
    above = membership_of(args.dir) if args.upstream else None
    return aggregator.run_server(args.dir, config, origin, ca=not args.no_ca, on_ready=announce, above=above)


def take_part(args: argparse.Namespace) -> str:
    from roughfed.deploy import agent

    line = join_line.parse(text) if (text := os.environ.pop("ROUGHFED_JOIN", "")) else None
    counts = [int(count) for count in args.counts.split(",") if count]
    told = {"counts": counts, "weight": args.weight, "family": args.family}
    trainer = SyntheticTrainer(args.params, pace_s=args.pace, examples=args.examples, **told)
    trainer.loss = args.loss
    how: agent.How = {"training_seed": lambda job: job.seed}  # updates that a test can make again
    if args.secret_seed is not None:
        how["secret"] = secret_of_seed(args.secret_seed, args.dir)
    if args.clock:
        how["clock"] = SignalledClock(args.clock)
    config = agent.load(args.dir, {})
    return agent.run_blocking(args.dir, config, trainer, line=line, **how)


def membership_of(folder: Path) -> ClientConfig:
    """Of an edge, in the federation above."""
    from roughfed.deploy.edge.run import VARIABLE, membership

    return membership(folder, join_line.parse(text) if (text := os.environ.pop(VARIABLE, "")) else None)


if __name__ == "__main__":
    sys.exit(main())
