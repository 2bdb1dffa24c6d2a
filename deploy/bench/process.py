"""`python -m roughfed.deploy.bench.process server|client`: one process of a bench or of a fault test, without torch.

Everything but the training is the real thing: the same server, agent, certificates and files as behind the CLI.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from roughfed import logs
from roughfed.crypto import join_line
from roughfed.deploy import agent, aggregator
from roughfed.deploy.bench.synthetic import SyntheticOrigin, SyntheticTrainer
from roughfed.errors import RoughfedError


def main() -> int:
    """Run one process; prints why it ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("server", "client"))
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--params", type=int, required=True)
    args = parser.parse_args()
    logs.setup(level=os.environ.get("ROUGHFED_LOG", "INFO"), json=True)
    try:
        if args.role == "server":
            config = aggregator.load(args.dir, {})
            end = aggregator.run_server(args.dir, config, SyntheticOrigin(args.params))
        else:
            line = join_line.parse(text) if (text := os.environ.pop("ROUGHFED_JOIN", "")) else None
            end = agent.run_blocking(args.dir, agent.load(args.dir, {}), SyntheticTrainer(args.params), line=line)
    except RoughfedError as error:
        print(f"error: {error.reason}: {error}", file=sys.stderr)
        return error.exit_code
    print(end, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
