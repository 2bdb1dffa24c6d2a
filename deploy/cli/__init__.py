"""The command line: `roughfed COMMAND`, or `python -m roughfed.deploy.cli COMMAND`.

Each file of this folder is a command, or a few that belong together; `command.py` is what they share. Nothing heavy
(torch, grpc, numpy, pydantic) is imported before the command that needs it runs.
"""

from __future__ import annotations

import os
import sys

ENVIRONMENT = {
    # The server shares its products out itself (server/defence/passes.py); the trainer sets its own number of threads
    # before torch is loaded.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "GRPC_ENABLE_FORK_SUPPORT": "0",  # nothing here forks with a channel open; its handlers cost a thread handshake
    "GRPC_VERBOSITY": "NONE",  # what gRPC's core prints to stderr is said by our own errors
}


def main() -> int:
    """Run the command line of this process; returns the exit code."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from roughfed.deploy.cli.app import run

    return run(sys.argv[1:])
