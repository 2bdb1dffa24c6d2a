"""Step 9: verdicts. Who is in the sum, who is not, and why; journaled before anybody is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from roughfed import crash
from roughfed.classes import STANDARD
from roughfed.secagg.statistics import add
from roughfed.server.admission import MAGNITUDE, REVOKED, absurd
from roughfed.server.clear import payloads_of, views_of
from roughfed.server.collect import LEFT_BEHIND
from roughfed.server.defence import Verdict, view_of_files
from roughfed.server.federation import Federation
from roughfed.server.incentive.watching import out_of, watch
from roughfed.server.masked.drive import verdicts
from roughfed.server.store import ABSENT, ACCEPTED, EVERYBODY, GONE, LATE, LEFT, RoundRow
from roughfed.server.verdicts import found_by_class

DROPOUTS = {GONE: "disconnected", LEFT: "left-behind", LATE: "deadline"}
STATICS = ("class-count", "class-owner")


async def judge(fed: Federation, row: RoundRow, *, defend: bool = True) -> RoundRow:
    """Verdicts: who is in the sum, who is not, and why. Journaled before anybody is told.

    Raises:
        TooFewClients: the defence cannot hold among so few; with `defend` false it is not asked.
    """
    absent = absentees(fed, row)
    if fed.result is not None:
        sets = verdicts(row, fed.result, absent)
        sets |= {name: REVOKED for name in fed.members.revoked & sets.keys() if sets[name] != ACCEPTED}
    elif fed.masked is not None:
        sets = dict.fromkeys(fed.store.receipts(fed.run, row.round), "abandoned") | absent  # never unmasked
    else:
        sets = await judge_updates(fed, row, defend=defend) | absent
    received = fed.store.receipts(fed.run, row.round).keys()  # what was refused on arrival is counted already
    for name, reason in sets.items():
        if reason and reason not in ABSENT and name in received:
            fed.metrics.left_out(reason)
    for name, reason in (fed.verdict.excluded if fed.verdict is not None and defend else {}).items():
        if sets.get(name) == reason:  # what is proved later comes before what the rule found
            fed.metrics.excluded(fed.defence.name, reason, client=name)
    note_patience(fed, sets)
    sums, statics = summed(fed, row, sets) if defend else ({}, {})
    await fed.store.set_sets(row.round, sets, sums=sums, statics=statics)
    crash.point("sets-journaled")
    fed.row = row = dataclasses.replace(row, sets=sets, sums=sums)
    return row


def summed(
    fed: Federation, row: RoundRow, sets: Mapping[str, str]
) -> tuple[Mapping[str, Sequence[int]], Mapping[str, Mapping[str, Sequence[int]]]]:
    """The statistics of those who count: their sums, and the class counts that facts go by.

    Behind masks a client tells its counts once a run, and each round's sum is a source of its own. In the clear it
    tells them in every round, and what it said last counts.
    """
    if fed.result is not None:
        found = {name: fed.result.sums[name] for name in STATICS if any(fed.result.sums.get(name, ()))}
        return fed.result.sums, ({f"{EVERYBODY}{row.round}": found} if found else {})
    received = fed.store.receipts(fed.run, row.round)
    given = {name: update.statement.statistics for name, update in received.items() if sets.get(name) == ACCEPTED}
    statics = {name: {key: said[key] for key in STATICS if key in said} for name, said in given.items()}
    return add(list(given.values())), {name: said for name, said in statics.items() if said}


def absentees(fed: Federation, row: RoundRow) -> dict[str, str]:
    """Who gave nothing that could count: refused at admission, left by its own word, gone, turned away, or late."""
    absent = {client: reason for client, (_, reason, _) in fed.store.refusals(row.round).items()}
    if (collection := fed.collection) is None:
        return absent
    received = fed.store.receipts(fed.run, row.round).keys()  # the engine may not have heard of one yet
    absent = {client: why for client, why in collection.refused.items() if client not in received} | absent
    for client in collection.pending() - absent.keys() - received:
        slow = LEFT if collection.ended == LEFT_BEHIND else LATE
        why = GONE if client in collection.gone else fed.intake.turned_away.get(client, slow)
        absent[client] = why
        fed.metrics.dropout("report", DROPOUTS.get(why, "refused"))
    return absent


async def judge_updates(fed: Federation, row: RoundRow, *, defend: bool) -> dict[str, str]:
    """Verdicts over whole updates."""
    received = fed.store.receipts(fed.run, row.round)
    sets = dict.fromkeys(received, ACCEPTED)
    sets |= dict.fromkeys(absurd({name: u.norm for name, u in received.items() if u.norm is not None}), MAGNITUDE)
    sets |= dict.fromkeys(fed.members.revoked & sets.keys(), REVOKED)
    if not defend:
        return sets
    fed.verdict = await verdict_over(fed, row, sets)
    return sets | out_of(fed, row) | dict(fed.verdict.excluded)


async def verdict_over(fed: Federation, row: RoundRow, sets: Mapping[str, str]) -> Verdict:
    """The rule's verdict over whole updates; after a restart, the same again.

    Args:
        fed: the federation.
        row: the round.
        sets: of everybody who sent one; who is out for a reason that is not the rule's is not shown to it.

    Raises:
        TooFewClients: the rule cannot hold against so many among so few.
    """
    received = {
        name: update.statement.client_class
        for name, update in fed.store.receipts(fed.run, row.round).items()
        if sets[name] not in (MAGNITUDE, REVOKED)
    }
    views = await views_of(fed, row, received)
    views = await watch(fed, row, views, payloads_of(fed, row, received))
    return await found_by_class(fed, views or {STANDARD: view_of_files({}, size=fed.spec.size)}, row.round)


def note_patience(fed: Federation, sets: Mapping[str, str]) -> None:
    """Count rounds in a row for which a connected client had nothing that counts in time: then none waits for it."""
    for client, verdict in sets.items():
        in_vain = verdict == LATE or (verdict and verdict == fed.intake.turned_away.get(client))
        fed.lates[client] = fed.lates.get(client, 0) + 1 if in_vain else 0
