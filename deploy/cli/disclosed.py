"""`roughfed disclosed`: what has left a client's directory, and how much of each limit that is."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.errors import ConfigError

if TYPE_CHECKING:
    from roughfed.client.disclosure.limits import Line, Totals

WORTH = {
    "runs": "each is asked anew for what is limited by run",
    "rounds": "",
    "sketch-numbers": "of a model of as many parameters: one whole update",
    "choice-bits": "about the labels, in the clear",
    "static": "examples and classes, in one sum each time",
}
STATISTIC = "in one sum each time"


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "disclosed")(disclosed)


def disclosed(context: CommandContext) -> Answer:
    """Show what has left this client, and how much of each limit is used.

    One table for each federation and each model of the own; names of runs make no difference. The figures are this
    directory's own: no server is asked, and none is told.
    """
    from roughfed.client.disclosure.limits import lines_of
    from roughfed.client.disclosure.record import records_in
    from roughfed.client.policy import Rules
    from roughfed.client.storage.restore import DATABASE
    from roughfed.client.storage.store import ClientStore
    from roughfed.deploy import agent

    place = agent.ClientFiles(context.folder)
    if not (place.state / DATABASE).exists():
        raise ConfigError(
            "no client has taken part from here",
            file=str(context.folder.absolute()),
            cure="name the directory of a client: --dir",
        )
    config = agent.load(context.folder, {})
    rules = Rules(config.policy, runs=config.client.stay)
    found: list[dict[str, object]] = []
    with closing(ClientStore(place.state)) as store:
        for federation, model, disclosed in records_in(store.journal):
            totals = disclosed.totals()
            lines = lines_of(totals, rules)
            context.say(f"{federation}, model {model.hex()[:12]}: {words(totals)}")
            context.say(table(lines))
            shown = [asdict(line) | {"share": line.share} for line in lines]
            found.append({**asdict(totals), "federation": federation, "model": model.hex(), "limits": shown})
    if not found:
        context.say("nothing has left this directory")
    return Answer({"records": found})


def words(totals: Totals) -> str:
    """The rounds by what the server saw, in a sentence."""
    modes = {"": "unknown to this version"}
    rounds = ", ".join(f"{count} {modes.get(mode, mode)}" for mode, count in sorted(totals.rounds.items()))
    parts = [f"rounds: {rounds or 'none'}"]
    if totals.smallest_sum is not None:
        parts.append(f"smallest sum: {totals.smallest_sum}")
    if totals.least_moved is not None:
        parts.append(f"least step of the model: {totals.least_moved:.3f} C")
    return "; ".join(parts)


def table(lines: list[Line]) -> str:
    """A line each, within 80 columns: what, how much of how much, and what it is worth."""
    rows: list[str] = []
    for line in lines:
        limit = "no limit" if line.limit is None else f"{line.limit}"
        share = "" if line.limit is None else f"{min(line.share, 9.99):.0%}"
        worth = WORTH.get(line.name, STATISTIC)
        rows.append(f"  {line.name[:20]:20} {line.used:>7} of {limit:<8} {share:>4}  {worth}"[:80].rstrip())
    return "\n".join(rows)
