"""`python -m roughfed.deploy.speed.process server|client`: one process of a speed test, without torch.

Everything but the training is the real thing: the same server, agent, certificates and files as behind the CLI.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from roughfed import logs
from roughfed.crypto import join_line
from roughfed.deploy.synthetic import SyntheticOrigin, SyntheticTrainer
from roughfed.errors import ConfigError, RoughfedError

if TYPE_CHECKING:
    from roughfed.server.app import Ports


def main() -> int:
    """Run one process; a server prints its ports once they are open, and either prints why it ended."""
    parser = arguments()
    parser.add_argument("--pace", type=float, default=0.0, help="client: seconds that each training takes at least")
    parser.add_argument("--secret-seed", type=int, default=0, help="client: what its secrets follow from")
    args = parser.parse_args()
    return ended(lambda: serve(args) if args.role == "server" else take_part(args))


def arguments() -> argparse.ArgumentParser:
    """What every such process is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("server", "client"))
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--params", type=int, required=True)
    return parser


def ended(run: Callable[[], str]) -> int:
    """Run one process, print why it ended, and return its exit code."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before grpc is imported; our own errors say what it would print
    logs.setup(level=os.environ.get("ROUGHFED_LOG", "INFO"), json=True)
    try:
        end = run()
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
    return aggregator.run_server(args.dir, config, SyntheticOrigin(args.params), ca=True, on_ready=announce)


def take_part(args: argparse.Namespace) -> str:
    """Be a client; its updates and secrets follow from seeds, so that the sums can be computed again."""
    from roughfed.deploy import agent

    line = join_line.parse(text) if (text := os.environ.pop("ROUGHFED_JOIN", "")) else None
    trainer = SyntheticTrainer(args.params, pace_s=args.pace)
    secret = secret_of_seed(args.secret_seed, args.dir)
    config = agent.load(args.dir, {})
    return agent.run_blocking(args.dir, config, trainer, line=line, secret=secret, training_seed=lambda job: job.seed)


def secret_of_seed(seed: int, folder: Path) -> Callable[[bytes], bytes]:
    """Where the secrets of masked rounds come from; only a test gives a seed, nothing behind the CLI can."""
    from roughfed.client.members import credential_files
    from roughfed.deploy.agent import ClientFiles

    return lambda header_digest: round_secret(
        seed, credential_files.load(ClientFiles(folder).papers).name, header_digest
    )


def round_secret(seed: int, client: str, header_digest: bytes) -> bytes:
    """The 32 "secret" bytes of a client in the round with this header, for who knows the seed."""
    return hashlib.sha256(b"roughfed test secret v1\0%d|%s|" % (seed, client.encode()) + header_digest).digest()


def announce(ports: Ports) -> None:
    """Say where the server listens, for whoever started it."""
    print(f"listening {json.dumps(asdict(ports))}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
