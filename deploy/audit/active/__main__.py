"""`python -m roughfed.deploy.audit.active`: one client of such a federation in a process of its own.

Everything but the training is the agent that `roughfed join` runs. $ROUGHFED_JOIN is its join line.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import cast

from roughfed import logs
from roughfed.crypto import join_line
from roughfed.deploy import agent
from roughfed.deploy.audit.active.scene import truth_of
from roughfed.deploy.audit.active.trainer import DigitsTrainer, Learning
from roughfed.errors import RoughfedError


def main() -> int:
    """Enrol and run; prints why it ended."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--index", type=int, required=True)
    for field in fields(Learning):
        parser.add_argument(f"--{field.name}", type=type(cast(object, field.default)), default=field.default)
    args = parser.parse_args()
    logs.setup(level="INFO", json=True)
    learning = Learning(args.images, args.batch, args.rate)
    trainer = DigitsTrainer(args.index, learning, truth_of(args.dir))
    line = join_line.parse(os.environ.pop(join_line.VARIABLE))
    try:
        print(agent.run_blocking(args.dir, agent.load(args.dir, {}), trainer, line=line), flush=True)
    except RoughfedError as error:
        print(f"error: {error.reason}: {error}", flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
