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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from roughfed import crash
from roughfed.crypto.merkle import merkle_root
from roughfed.errors import ConfigError, LocalProtocolError, RemoteProtocolError, RoundError
from roughfed.logs import in_round
from roughfed.masking import maskings_of
from roughfed.secagg.statistics import add
from roughfed.server import contributing, extras
from roughfed.server.aggregate.mean import Mean
from roughfed.server.classes import clear_classes, drawn, seating, tell_standing
from roughfed.server.clear import mean_of_updates, taking
from roughfed.server.collect import Collection, Decision
from roughfed.server.combine import combine
from roughfed.server.compared import keep_compared
from roughfed.server.downlink import next_files, place
from roughfed.server.facts import Facts, Shape, asked, facts_of, wanted_facts
from roughfed.server.fair_round import classes_fact, losses_asked
from roughfed.server.federation import Federation, Traffic
from roughfed.server.figures import accepted_updates, show_clients, summarize
from roughfed.server.finish import head_fact
from roughfed.server.habits import NO_PATIENCE
from roughfed.server.judge import judge, verdict_over
from roughfed.server.lineage import DEFAULT
from roughfed.server.listing import in_order
from roughfed.server.masked import drive
from roughfed.server.masked.defended import mean_of_groups
from roughfed.server.masked.opening import open_masked
from roughfed.server.masked.outcome import summed_evaluation
from roughfed.server.optimize import stepper
from roughfed.server.orders import kept
from roughfed.server.rolled_back import follow, last_lost
from roughfed.server.sampling import able
from roughfed.server.scaling import steps_asked, steps_fact
from roughfed.server.store import EVERYBODY, RoundRow
from roughfed.server.variates import ledger_of, scale_fact, with_variates
from roughfed.server.verdicts import Measured
from roughfed.types import Evaluation, RoundHeader, Signed
from roughfed.wire.session import HEADER_DOMAIN, decode_header, encode_header, job_digest

log = logging.getLogger(__name__)

LATE_ROUNDS = 3
"""A client that was late so often in a row may still deliver, but is not waited for once the quorum is there."""

MOST_COUNTED = 1000
"""With more classes, a count of each in every statement is too much to ask for the sake of a report."""

RESTART_GRACE_S = 30.0
"""After a restart nobody is connected: clients get this long to come back before the quorum goes on without them."""


async def run_round(fed: Federation) -> RoundRow:
    """Play one round, or finish the one that the journal left open.

    Returns:
        the round as journaled; its outcome is "committed" or "abandoned".
    """
    row = await open_round(fed)
    fed.trace.begin(row)
    in_round(fed.run, row.round)
    fed.masked = drive.begin(fed, row) if decode_header(row.header.body).masked else None
    try:
        if row.sets is None:
            dispatch(fed, row)
            if fed.masked is not None and not await drive.set_up(fed, row):
                return await abandon(fed, row, "too-few-adverts")
            decision = await collect(fed, row)
            if decision.action == "abandon":
                return await abandon(fed, row, decision.reason)
            if fed.masked is not None:
                fed.result = await drive.agree(fed, row)
            row = await judge(fed, row)
        if fed.masked is not None and not row.accepted:
            return await abandon(fed, row, "nothing-accepted")
        row = await aggregate(fed, row)
    except RoundError as error:  # too few for the defence, a sum that is none, or nobody above waits for it
        return await abandon(fed, row, error.reason)
    await announce(fed, row)
    return row


async def open_round(fed: Federation) -> RoundRow:
    """Draw the cohort, sign the header, journal both. An open round in the journal is taken up again."""
    last = fed.store.last_round()
    if last is not None and last.outcome is None:
        fed.row = last
        tell_opened(fed, last)
        return last
    fed.enter("configure")
    fed.phase_seconds.clear()
    fed.traffic = Traffic()
    settings = fed.config.round
    codec = fed.config.codec.uplink(fed.config.privacy.server_sees)
    offered = {s.name: s.hello.codecs for s in fed.members.all() if s.name not in fed.quarantined}
    cluster = fed.clusters.turn()
    plays = {name: codecs for name, codecs in offered.items() if fed.clusters.plays(name, cluster)}
    listed = fed.listing.listed(fed.members.all())
    connected = able({name: codecs for name, codecs in plays.items() if name in listed}, codec)
    seated = seating(fed.config, fed.members.hellos(connected))
    invited = settings.invited(len(seated.seats))
    last, number = await follow(fed, last)
    listed_as, order = in_order(fed, number)
    cohort = drawn(seated, invited=invited, seed=fed.config.federation.seed, round_number=number, order=order)
    root = merkle_root([s.member for name in cohort if (s := fed.members.get(name)) is not None])
    asked = asked_in(fed, number, cluster)
    fields: Mapping[str, Any] = {"statistics": asked, "classes": clear_classes(fed.config, seated, cohort)}
    if fed.config.privacy.masked:
        sizes = Counter(seated.seats[name] for name in cohort)
        fields = await open_masked(
            fed.stages, number, cohort=sizes, config=fed.config, num_classes=fed.num_classes, asked=asked
        )
        fields = {**fields, **listed_as}
    fields = {**fields, "round": number, "roster_root": root, "deadline_s": fed.in_time(settings.deadline)}
    facts = facts_for(fed) | fed.clusters.fact(number, cluster) | classes_fact(fed, cluster)
    header = make_header(fed, after=last, fields=fields, facts=facts, cluster=cluster)
    if fed.config.privacy.masked:
        check_terms(fed, header)
    goal = settings.goal(len(seated.seats))
    row = RoundRow(number, header, cohort, goal, time.time(), None, None, None, facts=facts, cluster=cluster)
    await fed.store.open_round(row)
    crash.point("round-opened")
    tell_opened(fed, row)
    fed.row = row
    tell_standing(fed, row, seated)
    return row


def tell_opened(fed: Federation, row: RoundRow) -> None:
    """The metrics of a round that is opened, or taken up after a restart: its time begins anew then."""
    gone = max(0.0, time.time() - row.opened_at) if row.opened_at < fed.started_at else 0.0
    fed.metrics.round_opened(row.round, row.opened_at, gone + decode_header(row.header.body).deadline_s)
    fed.metrics.participants("configure", len(row.cohort))


def asked_in(fed: Federation, number: int, cluster: str = DEFAULT) -> tuple[str, ...]:
    """The statistics that the learning settings ask for in a round; in the clear, class counts beside (reports)."""
    settings, shape = fed.config.trainer, Shape.of(fed.spec, fed.num_classes)
    number = fed.clusters.place(number, cluster)
    names = asked(settings, shape, number=number, rounds=fed.config.round.rounds)
    names = tuple(dict.fromkeys((*names, *steps_asked(fed, number), *losses_asked(fed.config))))
    if fed.config.privacy.masked or not 0 < shape.classes <= MOST_COUNTED:
        return names  # masked rounds ask for them anyway (`masked.opening`)
    return tuple(dict.fromkeys((*names, f"class-count:{shape.classes}")))


def facts_for(fed: Federation) -> Facts:
    """The facts of the next round; journaled with it."""
    wanted = wanted_facts(fed.config.trainer)
    statics = add(fed.store.statics()) if wanted else {}
    facts = facts_of(wanted, statics, fed.store.sums_with, planned=fed.config.round.rounds) | head_fact(fed)
    if fed.order is not None:  # what is known above is known of more clients
        facts |= {name: tuple(values) for name, values in fed.order.facts.items()} | fed.order.turn
    return facts | scale_fact(fed.config.trainer, since=last_lost(fed.store)) | steps_fact(fed)


def check_terms(fed: Federation, header: Signed) -> None:
    """A masked round that cannot be must not be journaled: every start would end at it.

    Raises:
        ConfigError: the settings do not fit the model.
    """
    try:
        maskings_of(header, decode_header(header.body), spec=fed.spec, server_key=fed.key.public_key)
    except RemoteProtocolError as error:
        raise ConfigError(
            f"no masked round fits this model of {fed.spec.size} parameters and {fed.num_classes} classes: {error}",
            key="sketch.dim",
            cure='choose a smaller sketch.dim or a larger codec.fraction, or set privacy.server_sees to "updates"',
        ) from None


def make_header(
    fed: Federation,
    *,
    after: RoundRow | None,
    fields: Mapping[str, Any],
    facts: Facts | None = None,
    train: bool = True,
    cluster: str = DEFAULT,
) -> Signed:
    """The header of a round that follows `after`, on a cluster's newest model, under the server's identity key.

    `fields`: number of the round, root of the roster, deadline, and what a masked round says beside (`masked.opening`).
    """
    head = fed.store.lineage.head(cluster)
    evaluate = fed.evaluates(fed.clusters.place(fields["round"], cluster), train=train)
    chosen_among = fed.config.clusters.chosen_among
    header = RoundHeader(
        run=fed.run,
        model_digest=head.digest,
        model_version=head.version,
        spec_digest=fed.spec.digest,
        previous_header_digest=after.header.digest if after else bytes(32),
        codec=fed.config.codec.uplink(fed.config.privacy.server_sees),
        server_sees=fed.config.privacy.server_sees,
        job_digest=job_digest(fed.trainer_settings(), evaluate=evaluate, facts=facts or {}, base=fed.base),
        heads=tuple(each.digest for each in fed.store.lineage.heads().values()) if chosen_among else (),
        **fields,
    )
    body = encode_header(header)
    with fed.work.time("sign"):
        signature = fed.key.sign(HEADER_DOMAIN, body)
    return Signed(body, signature, fed.name)


def dispatch(fed: Federation, row: RoundRow) -> None:
    """Take updates, and push the jobs."""
    fed.enter("report")
    header = decode_header(row.header.body)
    opened, deadline_s = fed.clock(), fed.in_time(header.deadline_s)
    resumed = taken_up(fed, row)  # nobody can be back yet
    fed.collection = collection = Collection(
        members=frozenset(row.cohort),
        goal=row.goal,
        quorum=fed.config.round.needed(row.goal),
        deadline=opened + deadline_s,
        opened=opened,
        patience=NO_PATIENCE if resumed else fed.habits.patience(fed.config.round.patience),
        received=set(fed.store.receipts(fed.run, row.round)),
        refused={client: why[1] for client, why in fed.store.refusals(row.round).items()},
    )
    present = [name for name in row.cohort if fed.members.get(name) is not None]
    away = set(row.cohort) - set(present)
    collection.lost(away, opened, grace=min(RESTART_GRACE_S, deadline_s) if resumed else 0.0)
    slow = [name for name in present if fed.lates.get(name, 0) >= LATE_ROUNDS]
    collection.lost(slow, opened, grace=0.0)
    fed.open_members = {name: fed.identity_keys[name] for name in present}
    fed.open_classes.clear()
    fed.intake.open_round(taking(fed, row))
    for name in present:
        if (session := fed.members.get(name)) is not None:
            fed.offer(name, session, collection)
    extras.begin(fed, row)
    crash.point("jobs-sent")


def taken_up(fed: Federation, row: RoundRow) -> bool:
    """Whether an earlier process opened the round."""
    return row.opened_at < fed.started_at


async def collect(fed: Federation, row: RoundRow) -> Decision:
    """Wait until enough updates are on disk, or until there is no more time."""
    if fed.masked is not None and "masked" in fed.masked.done:  # a restart: who uploaded is decided already
        fed.intake.close_round()
        return Decision("close", "decided before")
    if (collection := fed.collection) is None:
        raise LocalProtocolError("collect before dispatch")
    while (decision := collection.decide(fed.clock())).action == "wait":
        fed.metrics.participants("report", len(collection.received))
        await fed.sleep_until_change(decision.until)
        if fed.stopping and not fed.intake.busy:
            raise asyncio.CancelledError  # the round stays open in the journal; the next start goes on with it
        fed.check_order()
    fed.metrics.participants("report", len(collection.received))
    collection.ended = decision.reason
    if collection.patience.factor:
        fed.habits.note(collection, fed.clock())
    log.info("round %d: %s (%s)", row.round, decision.action, decision.reason, extra={"round": row.round})
    fed.intake.close_round()
    await fed.store.settle()  # a receipt on its way into the journal counts: its client will be told that it does
    return decision


async def aggregate(fed: Federation, row: RoundRow) -> RoundRow:
    """The accepted updates become the next version: sum, step, commit."""
    fed.enter("aggregate")
    fed.metrics.participants("aggregate", len(row.accepted))
    header = decode_header(row.header.body)
    weighting = "uniform" if fed.config.trainer.scaffold else fed.config.aggregate.weighting_of(header.server_sees)
    if fed.masked is not None and fed.result is None:  # a restart after the verdicts
        fed.result = await drive.conclude(fed, row)
    if fed.masked is None and fed.verdict is None:
        fed.verdict = await verdict_over(fed, row, row.sets or {})
    step = stepper(fed.config.optimize)
    began, base = time.perf_counter(), fed.store.model_path(header.model_digest)
    ledger = ledger_of(fed.store, row) if fed.config.trainer.scaffold else None
    version = fed.store.latest_model()[0] + 1  # of all clusters; its own base is what the header names
    quantised = fed.order is None and fed.config.codec.downlink_of(header.server_sees) == "int8"
    head = fed.store.lineage.version(header.model_version)
    files = next_files(fed.store, version, quantised=quantised, stepper=step, base=head)
    files = dataclasses.replace(files, work=fed.work)
    work = partial(
        combine,
        base,
        spec=fed.spec,
        stepper=step,
        into=files,
        executor=fed.executor,
    )

    def combined() -> tuple[bytes, float]:  # all in the thread: a round that is cancelled must not close what is read
        with mean_of(fed, row, weighting) as read, kept(fed, version, read) as mean:
            measured = Measured(mean)
            digest = work(measured if ledger is None else with_variates(measured, fed.spec, base, ledger))
            return digest, measured.norm

    digest, norm = await asyncio.to_thread(combined)
    await asyncio.to_thread(place, fed.store, files, version, digest)
    crash.point("model-written")
    fed.metrics.aggregated(weighting, time.perf_counter() - began, norm=norm)
    fed.enter("commit")
    now = time.time()
    if base_evaluations := evaluations(fed, row, header):
        await fed.store.add_evaluations(header.model_version, base_evaluations)
        if fed.result is None:
            said = {u.receipt.client: u.statement for u in accepted_updates(fed, row)}
            await keep_compared(fed.store, header.model_version, header.model_digest, said)
        show_clients(fed, header.model_version)
    await contributing.keep(fed, row, accepted_updates(fed, row), weighting)
    await fed.store.commit(row.round, version=version, digest=digest, now=now, base=header.model_version)
    crash.point("committed")
    fed.row = row = dataclasses.replace(row, outcome="committed", closed_at=now)
    fed.metrics.round_closed("committed", now - row.opened_at, again=taken_up(fed, row))
    return row


@contextmanager
def mean_of(fed: Federation, row: RoundRow, weighting: str) -> Iterator[Mean]:
    """The mean of the accepted updates, to be read slice by slice."""
    if fed.masked is not None and fed.result is not None:
        with mean_of_groups(fed, fed.result) as mean:
            yield mean
        return
    with mean_of_updates(fed, row, weighting) as mean:
        yield mean


def evaluations(fed: Federation, row: RoundRow, header: RoundHeader) -> list[tuple[str, Evaluation]]:
    """What the clients found about the base model: each one's, or all together when masked."""
    if fed.result is not None:
        found = summed_evaluation(fed.result, header.model_digest)
        return [] if found is None else [(EVERYBODY, found)]
    return [
        (u.receipt.client, e)
        for u in accepted_updates(fed, row)
        if (e := u.statement.evaluation) is not None and e.model_digest == header.model_digest
    ]


async def announce(fed: Federation, row: RoundRow) -> None:
    """Tell every member how the round ended for it, keep the figures, clear the spool."""
    for client in row.cohort:
        if (session := fed.members.get(client)) is not None:
            session.send(fed.closed(row, client))
    crash.point("announced")
    fed.collection = None
    fed.enter("waiting")
    if fed.masked is not None:
        await fed.stages.forget(row.round)
        crash.point("stages-forgotten")
    await fed.store.set_summary(row.round, found := summarize(fed, row))
    crash.point("summary-journaled")
    fed.metrics.summarized(found)
    fed.metrics.worked(fed.work.take())
    fed.intake.discard(fed.run, row.round, list(row.cohort))
    if fed.result is not None:
        fed.result.discard()
    await extras.forget(fed, row)
    contributing.begin(fed)
    fed.trace.finish(row, upload_bytes=fed.traffic.upload, download_bytes=fed.traffic.download)
    fed.masked = fed.result = fed.verdict = None


async def abandon(fed: Federation, row: RoundRow, reason: str) -> RoundRow:
    """End the round without a new version."""
    now = time.time()
    fed.intake.close_round()
    fed.trace.abandoned(reason)
    if row.sets is None:
        if fed.masked is not None:
            await drive.give_up(fed, row)
        row = await judge(fed, row, defend=False)
    await fed.store.abandon(row.round, reason, now)
    fed.metrics.round_closed("abandoned", now - row.opened_at, again=taken_up(fed, row))
    fed.row = row = dataclasses.replace(row, outcome="abandoned", closed_at=now)
    await announce(fed, row)
    return row
