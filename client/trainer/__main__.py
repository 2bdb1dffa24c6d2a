"""`python -m roughfed.client.trainer --fd N (--app FILE:NAME | --builtin JSON) [--device D] [--threads T]`.

Answers one request after the other until the parent closes the socket; with `--crowd N [--first] [--seed S]` for many
clients (`roughfed.trainer_client.Many`). Started by `roughfed.trainer_client`.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from roughfed.client.trainer.link import Link, die_with_parent
from roughfed.client.trainer.threads import Threads

if TYPE_CHECKING:
    from roughfed.client.trainer.operations import Operations
    from roughfed.client.trainer.virtual_clients import Crowd


def main() -> None:
    """Serve until the end of file."""
    arguments = _arguments()
    die_with_parent()
    faulthandler.enable()  # a crash in native code leaves its trace in the log
    _log()
    threads = Threads(arguments.threads)
    threads.prepare()
    link = Link(arguments.fd)
    operations: Operations | Crowd | None = None
    while (request := link.receive()) is not None:
        if operations is None:
            operations = _operations(arguments, link)
        threads.apply()
        answer = _answer(operations, request)
        link.send(answer)
        if "error" in answer and answer["error"]["fatal"]:
            raise SystemExit(1)


def _answer(operations: Operations | Crowd, request: dict[str, Any]) -> dict[str, Any]:
    from roughfed.client.trainer import faults

    return faults.answered(partial(operations.run, request["op"], request))


def _operations(arguments: argparse.Namespace, link: Link) -> Operations | Crowd:
    from roughfed.client.trainer.load import load_first
    from roughfed.client.trainer.operations import Operations
    from roughfed.client.trainer.virtual_clients import Crowd

    device: str = arguments.device
    report = link.report
    given = json.loads(arguments.builtin) if arguments.builtin else None
    if arguments.first:
        first = partial(load_first, arguments.app, arguments.crowd, seed=arguments.seed)
        return Operations(client=first, device=device, report=report)
    if arguments.crowd:
        crowd, seed = arguments.crowd, arguments.seed
        return Crowd(clients=crowd, app=arguments.app, builtin=given, seed=seed, device=device, report=report)
    return Operations.of(app=arguments.app, builtin=given, device=device, report=report)


def _log() -> None:
    """What the trainer says goes where user code prints: a file of the client's own. Other packages say only faults."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    ours = logging.getLogger("roughfed")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="roughfed.client.trainer", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the inherited socket")
    app = parser.add_mutually_exclusive_group(required=True)
    app.add_argument("--app", help="FILE:NAME of a roughfed.Client")
    app.add_argument("--builtin", help="JSON settings of the built-in app")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="0 shares the cores with other trainers of this host")
    parser.add_argument("--crowd", type=int, default=0, help="clients that are trained for in turn")
    parser.add_argument("--first", action="store_true", help="be the worker beside their server: an own app alone")
    parser.add_argument("--seed", type=int, default=0, help="of what an own app of many clients draws")
    return parser.parse_args()


if __name__ == "__main__":
    main()
