"""`roughfed status`: the running server, or what the journal of an ended one says; or a client's directory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from roughfed.deploy.cli.command import NOT_RUNNING, Answer, CommandContext, command
from roughfed.errors import ConfigError
from roughfed.transport import control_socket


@dataclass(frozen=True, slots=True)
class StatusFlags:
    """Once, or for as long as it runs; of all, or of one client."""

    watch: Annotated[bool, typer.Option("--watch", "-w", help="Redraw at every change until the server ends.")] = False
    wait: Annotated[
        float,
        typer.Option(min=0, help="--watch: seconds for which a server that went away is waited for, over a restart."),
    ] = 60.0
    client: Annotated[str, typer.Option(metavar="NAME", help="All that is known of one client.")] = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "status", flags=StatusFlags)(status)


def status(context: CommandContext, flags: StatusFlags) -> Answer:
    """Show what the server does, or in a client's directory what that may show its server.

    Round and what it waits for, accuracy, alerts with what to do, and a table of the clients. When no server runs
    there, what its journal knows; the exit code is then 6. Of a client: its name, its server, the most that this may
    see and who said so, what it asked for in vain, rounds, and the end of the certificate.
    """
    from roughfed.deploy.cli.status_client import status_client
    from roughfed.deploy.cli.status_table import StatusView
    from roughfed.deploy.membership import is_client

    if is_client(context.folder):
        if flags.watch or flags.client:
            key, cure = (
                "--watch" if flags.watch else "--client",
                "leave it out, or name a server's with --dir",
            )
            raise ConfigError("this is a client's directory", key=key, cure=cure)
        return status_client(context)

    if flags.watch and flags.client:
        raise ConfigError("--watch shows the whole server", key="--client", cure="leave --watch or --client out")
    try:
        if flags.watch:
            return watch(context, flags.wait)
        found = control_socket.ask(context.folder, "status")
    except control_socket.NotRunning:
        return ended(context, exit_code=NOT_RUNNING)
    if flags.client:
        return client(context, found, flags.client)
    if not context.json:
        accuracy = accuracies(context.folder) if found["server_sees"] == "updates" else {}
        context.say(StatusView(found, time.time(), page(context.folder), accuracy))
    return Answer({"running": True, **found})


def watch(context: CommandContext, wait_s: float) -> Answer:
    """Follow the server to its end."""
    from roughfed.deploy.cli import status_watch
    from roughfed.deploy.cli.status_table import StatusView

    where = page(context.folder)
    status_watch.watch(
        context,
        wait_s=wait_s,
        over=lambda: is_over(context),
        draw=lambda seen, height: StatusView(seen.status, time.time(), where, height=height, note=seen.note),
    )
    return ended(context, exit_code=0)


def page(folder: Path) -> str:
    """Address of the status page of the server that runs here; empty where there is none."""
    from roughfed.deploy import aggregator
    from roughfed.deploy.cli.server import page_host

    try:
        config, port = aggregator.load(folder, {}), aggregator.known_ports(folder).http
    except ConfigError:  # fed.toml is being edited; what the running server says is worth showing
        return ""
    return f"http://{page_host(config)}:{port}/" if port else ""


def accuracies(folder: Path) -> dict[str, float]:
    """Of the newest model that clients evaluated on their own data, by client, where they tell it one by one."""
    from roughfed.deploy.summary import open_store
    from roughfed.server.observe.run_summary import EVERYBODY, SERVER

    try:
        store = open_store(folder)
    except ConfigError:
        return {}
    with closing(store):
        for version, _ in reversed(store.versions()[-2:]):
            told = {name: e.accuracy for name, e in store.evaluations(version).items()}
            found = {n: a for n, a in told.items() if a is not None and n not in (SERVER, EVERYBODY)}
            if found:
                return found
    return {}


def is_over(context: CommandContext) -> bool:
    """Whether the journal says that the run is over."""
    from roughfed.deploy.summary import open_store

    with closing(open_store(context.folder)) as store:
        return store.run() is not None and store.finished() is not None


def client(context: CommandContext, status: Mapping[str, Any], name: str) -> Answer:
    """All that a running server says of one client.

    Raises:
        ConfigError: it never heard of it.
    """
    from roughfed.deploy.cli.status_client import of_one, told
    from roughfed.deploy.cli.status_table import clean, grid

    if (found := of_one(status, name)) is None:
        raise ConfigError(f"the server knows no client {name!r}", key="--client", cure="roughfed status lists them")
    context.say(grid(list(told(clean(found), now=time.time()))))
    return Answer({"running": True, **found})


def ended(context: CommandContext, *, exit_code: int) -> Answer:
    """What the journal of a server that does not run says.

    Raises:
        NotRunning: no run was ever started there.
    """
    from roughfed.deploy import aggregator
    from roughfed.deploy.cli.status_table import draw_ended

    if not (aggregator.ServerFiles(context.folder).state / "journal.db").is_file():
        control_socket.ask(context.folder, "status")  # says in which way nothing is there
    found = from_journal(context)
    context.say(draw_ended(found, {} if context.json else accuracies(context.folder)))
    return Answer(found, exit_code)


def from_journal(context: CommandContext) -> dict[str, Any]:
    """The state of a run out of its journal."""
    from roughfed.deploy import aggregator
    from roughfed.deploy.summary import open_store
    from roughfed.measures import figures
    from roughfed.server.defence.findings import Exclusions, shown
    from roughfed.server.defence.memory import ConfiguredRule
    from roughfed.server.masked.journal import Stages
    from roughfed.server.model.retention import Quality, newest_evaluation
    from roughfed.server.observe.recent_rounds import newest_told

    config = aggregator.load(context.folder, {})
    with closing(open_store(context.folder)) as store:
        if (known := store.run()) is None:
            return {"running": False, "run": None}
        stages = Stages(store.journal)
        version, digest = store.latest_model()
        last, outcomes = store.last_round(), store.outcomes()
        evaluation, measured_by = newest_evaluation(store, version)
        return {
            "running": False,
            "run": known[0],
            "finished": store.finished(),
            "round": last.round if last is not None else 0,
            "rounds_committed": outcomes.get("committed", 0),
            "rounds_abandoned": outcomes.get("abandoned", 0),
            "round_open": last is not None and last.outcome is None,
            "model_version": version,
            "best_version": Quality(store).best(),
            "model_digest": digest.hex(),
            "parameters": known[1].size,
            "accuracy": evaluation.accuracy if evaluation else None,
            "balanced_accuracy": evaluation.balanced_accuracy if evaluation else None,
            "worst_class_accuracy": figures(evaluation).worst if evaluation else None,
            "measured_by": measured_by,
            "quarantined": stages.quarantined(),
            "defence": shown(store, ConfiguredRule.of(config, store.journal), Exclusions(store)),
            "heterogeneity": newest_told(store),
        }
