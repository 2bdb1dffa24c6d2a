"""One round, top to bottom (steps 8 to 12 of docs/ARCHITECTURE.md).

Every stage ends with a fact in the journal, and each begins by looking whether that fact is there already: after a
`kill -9` the same function is called again and goes on where the journal ends. The stages are deterministic given the
receipts, so the bytes of the next model do not depend on how often the process died.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

from roughfed import crash
from roughfed.crypto.merkle import merkle_root
from roughfed.errors import RoundError
from roughfed.messages import RoundClosed
from roughfed.server.admission import MAGNITUDE, absurd
from roughfed.server.aggregate import WEIGHTINGS
from roughfed.server.aggregate.mean import weighted_mean
from roughfed.server.collect import Collection, Decision
from roughfed.server.combine import combine
from roughfed.server.downlink import next_files, place
from roughfed.server.federation import Federation, Traffic
from roughfed.server.intake import OpenRound
from roughfed.server.optimize import RULES
from roughfed.server.sampling import choose
from roughfed.server.store import ABSENT, ACCEPTED, GONE, LATE, ReceivedUpdate, RoundRow
from roughfed.types import RoundHeader, Signed, UpdateStatement
from roughfed.wire.session import HEADER_DOMAIN, decode_header, encode_header

log = logging.getLogger(__name__)

LATE_ROUNDS = 3
"""A client that was late so often in a row may still deliver, but is not waited for once the quorum is there."""

RESTART_GRACE_S = 30.0
"""After a restart nobody is connected: clients get this long to come back before the quorum goes on without them."""


async def run_round(fed: Federation) -> RoundRow:
    """Play one round, or finish the one that the journal left open.

    Returns:
        the round as journaled; its outcome is "committed" or "abandoned".
    """
    row = await open_round(fed)
    if row.sets is None:
        decision = await collect(fed, row)
        if decision.action == "abandon":
            return await abandon(fed, row, decision.reason)
        row = await judge(fed, row)
    try:
        row = await aggregate(fed, row)
    except RoundError as error:
        return await abandon(fed, row, error.reason)
    await announce(fed, row)
    return row


async def open_round(fed: Federation) -> RoundRow:
    """Draw the cohort, sign the header, journal both. An open round in the journal is taken up again."""
    last = fed.store.last_round()
    if last is not None and last.outcome is None:
        fed.row = last
        return last
    fed.enter("configure")
    fed.phase_seconds.clear()
    fed.traffic = Traffic()
    settings = fed.config.round
    connected = fed.members.names()
    invited = settings.invited(len(connected))
    number = last.round + 1 if last else 1
    cohort = choose(connected, invited=invited, seed=fed.config.federation.seed, round_number=number)
    root = merkle_root([s.member for name in cohort if (s := fed.members.get(name)) is not None])
    header = make_header(fed, after=last, roster_root=root, deadline_s=settings.deadline)
    goal = settings.goal(len(connected))
    row = RoundRow(number, header, cohort, goal, time.time(), None, None, None)
    await fed.store.open_round(row)
    crash.point("round-opened")
    fed.metrics.round_opened(number)
    fed.row = row
    return row


def make_header(fed: Federation, *, after: RoundRow | None, roster_root: bytes, deadline_s: float) -> Signed:
    """The header of the round that follows `after`, on the newest model, under the server's identity key."""
    version, digest = fed.store.latest_model()
    header = RoundHeader(
        run=fed.run,
        round=after.round + 1 if after else 1,
        model_digest=digest,
        model_version=version,
        spec_digest=fed.spec.digest,
        previous_header_digest=after.header.digest if after else bytes(32),
        codec=fed.config.codec.uplink(fed.config.privacy.server_sees),
        server_sees=fed.config.privacy.server_sees,
        roster_root=roster_root,
        deadline_s=deadline_s,
    )
    body = encode_header(header)
    return Signed(body, fed.key.sign(HEADER_DOMAIN, body), fed.name)


async def collect(fed: Federation, row: RoundRow) -> Decision:
    """Push the jobs and wait until enough updates are on disk, or until there is no more time."""
    fed.enter("report")
    opened, deadline_s = time.monotonic(), decode_header(row.header.body).deadline_s
    fed.collection = collection = Collection(
        members=frozenset(row.cohort),
        goal=row.goal,
        quorum=fed.config.round.needed(row.goal),
        deadline=opened + deadline_s,
        received=set(fed.store.receipts(fed.run, row.round)),
        refused={client: why[1] for client, why in fed.store.refusals(row.round).items()},
    )
    present = [name for name in row.cohort if fed.members.get(name) is not None]
    resumed = time.time() - row.opened_at > 1.0
    away = set(row.cohort) - set(present)
    collection.lost(away, opened, grace=min(RESTART_GRACE_S, deadline_s) if resumed else 0.0)
    slow = [name for name in present if fed.lates.get(name, 0) >= LATE_ROUNDS]
    collection.lost(slow, opened, grace=0.0)
    fed.open_members = {name: fed.identity_keys[name] for name in present}
    expected = OpenRound(fed.run, row.round, row.header.digest, fed.spec.size_bytes, fed.open_members)
    fed.intake.open_round(expected)
    for name in present:
        if (session := fed.members.get(name)) is not None and name in collection.pending():
            session.send(fed.job(row, name, seconds_left=deadline_s))
    crash.point("jobs-sent")
    while (decision := collection.decide(time.monotonic())).action == "wait":
        fed.metrics.participants("report", len(collection.received))
        await fed.sleep_until_change(decision.until)
        if fed.stopping and not fed.intake.busy:
            raise asyncio.CancelledError  # the round stays open in the journal; the next start goes on with it
    log.info("round %d: %s (%s)", row.round, decision.action, decision.reason, extra={"round": row.round})
    fed.intake.close_round()
    await fed.store.settle()  # a receipt on its way into the journal counts: its client will be told that it does
    return decision


async def judge(fed: Federation, row: RoundRow) -> RoundRow:
    """Verdicts: who is in the sum, who is not, and why. Journaled before anybody is told."""
    received = fed.store.receipts(fed.run, row.round)
    sets = dict.fromkeys(received, ACCEPTED)
    for client in absurd({name: u.norm for name, u in received.items() if u.norm is not None}):
        sets[client] = MAGNITUDE
        fed.metrics.left_out(MAGNITUDE)
    for client, (_, reason, _) in fed.store.refusals(row.round).items():
        sets[client] = reason
    if fed.collection is not None:
        for client, reason in fed.collection.refused.items():
            sets.setdefault(client, reason)
        for client in fed.collection.pending() - sets.keys():
            gone = client in fed.collection.gone
            sets[client] = GONE if gone else LATE
            fed.metrics.dropout("report", "disconnected" if gone else "deadline")
    for client in fed.members.revoked & sets.keys():
        sets[client] = "revoked"  # also one whose update was received before
    note_patience(fed, sets)
    await fed.store.set_sets(row.round, sets)
    crash.point("sets-journaled")
    fed.row = row = dataclasses.replace(row, sets=sets)
    return row


def note_patience(fed: Federation, sets: Mapping[str, str]) -> None:
    """Count rounds in a row for which a connected client was too late: then a quorum no longer waits for it."""
    for client, verdict in sets.items():
        fed.lates[client] = fed.lates.get(client, 0) + 1 if verdict == LATE else 0


async def aggregate(fed: Federation, row: RoundRow) -> RoundRow:
    """The accepted updates become the next version: sum, step, commit."""
    fed.enter("aggregate")
    header = decode_header(row.header.body)
    accepted = accepted_updates(fed, row)
    weighting = fed.config.aggregate.weighting_of(header.server_sees)
    weights = WEIGHTINGS[weighting]([u.statement for u in accepted])
    rule = RULES[fed.config.optimize.rule]
    began = time.perf_counter()
    version = header.model_version + 1
    files = next_files(fed.store, version, quantised=fed.config.codec.downlink_of(header.server_sees) == "int8")
    updates = [
        (fed.intake.spool_path(fed.run, row.round, u.receipt.client), w) for u, w in zip(accepted, weights, strict=True)
    ]
    work = partial(
        combine,
        fed.store.model_path(header.model_digest),
        spec=fed.spec,
        step=lambda params, delta: rule(params, delta, fed.config.optimize.lr),
        into=files,
        executor=fed.executor,
    )

    def from_files() -> bytes:  # opened in the thread: a round that is cancelled must not close what is still read
        with weighted_mean(updates, codec=header.codec, size=fed.spec.size) as mean:
            return work(mean)

    digest = await asyncio.to_thread(from_files)
    await asyncio.to_thread(place, fed.store, files, version, digest)
    crash.point("model-written")
    fed.metrics.aggregated(weighting, time.perf_counter() - began)
    fed.enter("commit")
    now = time.time()
    base_evaluations = [
        (u.receipt.client, e)
        for u in accepted
        if (e := u.statement.evaluation) is not None and e.model_digest == header.model_digest
    ]
    if base_evaluations:
        await fed.store.add_evaluations(header.model_version, base_evaluations)
    await fed.store.commit(row.round, version=version, digest=digest, now=now)
    crash.point("committed")
    fed.row = row = dataclasses.replace(row, outcome="committed", closed_at=now)
    fed.metrics.round_closed("committed", now - row.opened_at)
    return row


def accepted_updates(fed: Federation, row: RoundRow) -> list[ReceivedUpdate]:
    """What is in the sum, in order of the clients' names."""
    accepted = set(row.accepted)
    return [u for u in fed.store.receipts(fed.run, row.round).values() if u.receipt.client in accepted]


async def announce(fed: Federation, row: RoundRow) -> None:
    """Tell every member how the round ended for it, keep the figures, clear the spool."""
    version, digest = fed.store.latest_model()
    sets = row.sets or {}
    for client in row.cohort:
        if (session := fed.members.get(client)) is None:
            continue
        reason = sets.get(client, "absent")
        verdict = "accepted" if reason == ACCEPTED else "late" if reason in ABSENT else "excluded"
        session.send(RoundClosed(row.round, str(row.outcome), version, digest, verdict, reason))
    crash.point("announced")
    fed.collection = None
    fed.enter("waiting")
    await fed.store.set_summary(row.round, summarize(fed, row))
    fed.intake.discard(fed.run, row.round, list(row.cohort))
    fed.metrics.storage(**await asyncio.to_thread(fed.store.sizes))


async def abandon(fed: Federation, row: RoundRow, reason: str) -> RoundRow:
    """End the round without a new version."""
    now = time.time()
    if row.sets is None:
        row = await judge(fed, row)
    await fed.store.abandon(row.round, reason, now)
    fed.metrics.round_closed("abandoned", now - row.opened_at)
    fed.row = row = dataclasses.replace(row, outcome="abandoned", closed_at=now)
    await announce(fed, row)
    return row


def summarize(fed: Federation, row: RoundRow) -> dict[str, object]:
    """The round's figures for the report (`roughfed.deploy.summary` adds the sets and the evaluations)."""
    return {
        "seconds": (row.closed_at or time.time()) - row.opened_at,
        "phase_seconds": dict(fed.phase_seconds),
        "upload_bytes": fed.traffic.upload,
        "download_bytes": fed.traffic.download,
    } | training_figures([u.statement for u in accepted_updates(fed, row)])


async def complete_summary(fed: Federation) -> None:
    """After a crash between the end of a round and its summary: what the journal still knows of it."""
    last = fed.store.last_round()
    if last is None or last.outcome is None or last.summary is not None:
        return
    received = fed.store.receipts(fed.run, last.round).values()
    found = summarize(fed, last) | {"phase_seconds": {}, "upload_bytes": sum(u.receipt.size_bytes for u in received)}
    await fed.store.set_summary(last.round, found)


def training_figures(statements: Sequence[UpdateStatement]) -> dict[str, object]:
    """What the clients say of their local training: mean seconds, and mean metrics weighted by examples.

    A metric counts if more than half of the clients report it: one client cannot fill the report with names.
    """
    if not statements:
        return {}
    counts = Counter(name for s in statements for name in s.metrics)
    means: dict[str, float] = {}
    for name in sorted(name for name, count in counts.items() if 2 * count > len(statements)):
        given = [(s.metrics[name], s.num_examples) for s in statements if name in s.metrics]
        means[name] = sum(value * n for value, n in given) / sum(n for _, n in given)
    return {"train_seconds": sum(s.train_seconds for s in statements) / len(statements), "train_metrics": means}
