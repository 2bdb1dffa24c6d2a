"""A masked round against the clock: what is decided is journaled, then said; who owes an answer is waited for.

A stage waits for every connected client that owes something, and a short grace for those whose stream broke. Who is
silent is lost for the round, or, after its upload, only noted: enough others answer, or its group is void.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from roughfed import crash
from roughfed.classes import STANDARD
from roughfed.crypto.masks import Lanes
from roughfed.errors import IdentityError, RemoteProtocolError
from roughfed.masking import Masking, maskings_of
from roughfed.messages import ClientStage
from roughfed.secagg.groups import smallest_sum
from roughfed.secagg.server import Stage
from roughfed.server import extras
from roughfed.server.admission import REVOKED
from roughfed.server.defence import ROUNDING, View, view_of_claims
from roughfed.server.fair_round import by_classes
from roughfed.server.federation import Federation
from roughfed.server.incentive.watching import out_of, watch
from roughfed.server.masked.defended import unmasked
from roughfed.server.masked.journal import SILENT, Step
from roughfed.server.masked.opening import limits_of
from roughfed.server.masked.outcome import Result, next_clip
from roughfed.server.masked.stages import MaskedRound, Server
from roughfed.server.membership import Session
from roughfed.server.store import GONE, RoundRow
from roughfed.server.verdicts import found_by_class
from roughfed.types import Signed
from roughfed.wire.enrolment import open_member
from roughfed.wire.session import decode_header

log = logging.getLogger(__name__)

STAGE_S = 30.0
"""A connected client that owes an answer is waited for so long; answers take milliseconds."""

RESCUE_S = 8.0
"""A process that was killed is back after some seconds: worth waiting for where a group is void without it."""

FACT = "fact:"


def begin(fed: Federation, row: RoundRow) -> MaskedRound:
    """The machine of a round; what the journal knows of it is played again."""
    header = decode_header(row.header.body)
    maskings = maskings_of(row.header, header, spec=fed.spec, server_key=fed.key.public_key)
    opening = fed.stages.opening(row.round)
    if opening is None:
        raise RemoteProtocolError(f"round {row.round} is masked and its nonce is not journaled", reason="storage")

    def member(entry: bytes) -> tuple[str, bytes]:
        found = open_member(entry, fed.ca_certificate, federation=fed.external)
        return found.name, found.identity_key

    def sign(domain: bytes, body: bytes) -> bytes:
        with fed.work.time("sign"):
            return fed.key.sign(domain, body)

    server = Server(sign, member, opening.nonce)
    weighs = fed.config.trainer.self_weight or by_classes(fed.config)
    round_ = MaskedRound(maskings, frozenset(row.cohort), server, weighs)
    fed.trace.stage(round_.stage)
    for step in fed.stages.steps(row.round):
        if step.kind.startswith(FACT):
            round_.fact(step.kind.removeprefix(FACT), step.signed.body)
        else:
            round_.take(step.kind, step.signed, step.entry)
    return round_


def take(fed: Federation, session: Session, stage: ClientStage) -> None:
    """A stage of a client: into the machine, then into the journal. One that breaks a rule is only counted."""
    round_, row = fed.masked, fed.row
    if round_ is None or row is None:
        fed.metrics.stage_refused("late")
        return
    signed = Signed(stage.signed.body, stage.signed.signature, session.name)
    entry = session.hello.member if stage.kind == "advertise" else b""
    try:
        with fed.work.time("verify"):
            if stage.kind == "advertise":
                round_.check_class(signed, fed.open_classes.get(session.name, STANDARD))
            new = round_.take(stage.kind, signed, entry)
    except (RemoteProtocolError, IdentityError) as error:
        log.info("round %d: %s of %s refused (%s): %s", row.round, stage.kind, session.name, error.reason, error)
        fed.metrics.stage_refused(error.reason)
        return
    if new:
        fed.stages.submit(row.round, Step(stage.kind, session.name, signed, entry))
        crash.point(f"{stage.kind}-taken")
        fed.wake()


async def decide(fed: Federation, row: RoundRow, kind: str, body: bytes = b"") -> None:
    """A fact: journaled, then said."""
    round_ = masked(fed)
    outgoing = round_.fact(kind, body)
    fed.trace.stage(round_.stage)
    await fed.stages.submit(row.round, Step(FACT + kind, "", Signed(body, b"", "")))
    crash.point(f"{kind}-decided")
    for name, message in outgoing:
        if (session := fed.members.get(name)) is not None:
            session.send(message)
    fed.wake()


async def waiting(
    fed: Federation, owing: Callable[[], set[str]], *, leisure: Callable[[], float] = lambda: 0.0
) -> None:
    """Return when nobody owes anything any more who can be waited for.

    Who is gone gets the grace of the collection; longer where its group would be void without those who are gone, and
    everybody as long as there is leisure (until when, by the clock of rounds).
    """
    until = fed.clock() + fed.in_time(STAGE_S, share=0.5)  # other stages follow
    while names := owing():
        now = fed.clock()
        gone = fed.collection.gone if fed.collection is not None else {}
        absent = names & gone.keys()  # every message wakes us: nothing here may look at each of those who are present
        patience = [gone[name] + rescue(fed, name, gone) for name in absent] + [until] * (len(absent) < len(names))
        moments = [moment for moment in patience if moment > now] or [leisure()]
        if min(moments) <= now:
            return
        await fed.sleep_until_change(min(moments))
        if fed.stopping:
            raise asyncio.CancelledError  # the round stays open in the journal; the next start goes on with it
        fed.check_order()


def while_all_download(fed: Federation) -> float:
    """Until when there is leisure to agree on keys: the deadline as long as everybody who is here waits for the model.

    Masks are needed later, so a connection that broke, or that the model fills, has time. Whose phase changes wakes us.
    """
    collection = fed.collection
    if collection is None:
        return 0.0
    sessions = [fed.members.get(name) for name in collection.members - collection.refused.keys()]
    phases = {session.phase for session in sessions if session is not None}
    return collection.deadline if "downloading" in phases and phases <= {"downloading", "idle"} else 0.0


def rescue(fed: Federation, name: str, gone: Mapping[str, float]) -> float:
    """Seconds beyond the grace for which a client that is gone is waited for."""
    group = masked(fed).seats.get(name)
    if group is None or sum(mate not in gone for mate in group.names) >= group.threshold:
        return 0.0
    return RESCUE_S


async def set_up(fed: Federation, row: RoundRow) -> bool:
    """Adverts, roster, shares, deals, while the clients train; whether there is a group at all."""
    round_ = masked(fed)
    if not fed.warmed:  # the kernels of the decoder, while the clients train
        fed.warmed = True
        fed.executor.submit(warm, round_.maskings)
    if "roster" not in round_.done:
        await waiting(fed, round_.owing, leisure=partial(while_all_download, fed))
        await decide(fed, row, "roster")
        for one in round_.classes:
            await fed.stages.note_beacon(row.round, one.beacon, one.masking.client_class)
    if not round_.groups:
        return False
    if "dealt" not in round_.done:
        await waiting(fed, round_.owing, leisure=partial(while_all_download, fed))
        await decide(fed, row, "dealt")
    if (collection := fed.collection) is not None:
        for name in collection.members - set(round_.uploaders()):  # also one that is gone: it may come back, too late
            collection.refuse(name, GONE if name in collection.gone else _missing(round_, name))
        collection.groups = [(frozenset(group.dealers), smallest_sum(len(group.names))) for group in round_.groups]
    return True


def _missing(round_: MaskedRound, name: str) -> str:
    """What keeps a client from uploading anything."""
    if (group := round_.seats.get(name)) is None:
        return round_.refused.get(name, "no-advert")
    return "left-out" if name in group.dealers else "no-shares"


def warm(maskings: Sequence[Masking]) -> None:
    """Load the decoder's kernels; the first process on a machine compiles them."""
    from roughfed.codec import chain

    for lanes in dict.fromkeys(masking.params.lanes for masking in maskings):
        chain.warm(lanes)


async def agree(fed: Federation, row: RoundRow) -> Result:
    """Seed, sketches, disputes, defence, sets, signatures, answers: what the groups give."""
    round_ = masked(fed)
    if "masked" not in round_.done:
        received = fed.store.receipts(fed.run, row.round)
        await decide(fed, row, "masked", round_.uploads({name: u.signed for name, u in received.items()}))
    if round_.sketches and "sketched" not in round_.done:
        await waiting(fed, lambda: set() if round_.questions() else round_.owing())
        while round_.questions():
            await decide(fed, row, "questions")
            await waiting(fed, lambda: set() if round_.questions() else round_.owing())
        await decide(fed, row, "sketched")
    if "judged" not in round_.done:
        await decide(fed, row, "judged", json.dumps(await rejected(fed, row)).encode())
    agreeing = {n for n, group in enumerate(round_.groups) if group.stage is Stage.AGREEING}
    if agreeing:
        await waiting(fed, lambda: _owing_in(round_, Stage.AGREEING))
        for number in round_.ready_to_unmask():
            await decide(fed, row, "agreed", str(number).encode())
    await waiting(fed, lambda: _owing_in(round_, Stage.UNMASKING))
    return await conclude(fed, row)


async def conclude(fed: Federation, row: RoundRow) -> Result:
    """Unmask, check and judge the groups, and journal what outlives the round.

    Raises:
        TooFewClients: the defence cannot hold among so few groups.
    """
    round_ = masked(fed)
    fed.enter("unmask")
    result = await unmasked(fed, row, round_, partial(read_lanes, fed, row))
    limits = limits_of(fed.config)
    clips = {
        one.masking.client_class: next_clip(one, number=row.round, limits=limits)
        for one in result.classes
        if one.accepted
    }
    connected = set(fed.members.names())
    silent = dict.fromkeys(round_.without_advert(), "no advert") | result.noted
    said_why = round_.out  # whoever refused openly is not silent
    noted = {n: what for n, what in silent.items() if what not in SILENT or (n in connected and n not in said_why)}
    await fed.stages.note_end(
        row.round,
        next_clips=clips,
        statistics=result.sums,
        proofs=result.proofs,
        noted=noted,
        now=time.time(),
    )
    quarantine(fed, row, result.proofs)
    for number, why in result.void.items():
        log.warning("round %d: group %d is void: %s", row.round, number, why)
    fed.metrics.groups(counted=len(round_.groups) - len(result.void), void=len(result.void), proofs=len(result.proofs))
    return result


async def give_up(fed: Federation, row: RoundRow) -> None:
    """The round is abandoned before it was unmasked: what was proved stands."""
    proofs = {name: reason for group in masked(fed).groups for name, reason in group.proofs.items()}
    if proofs:
        await fed.stages.note_end(row.round, proofs=proofs, now=time.time())
        quarantine(fed, row, proofs)


def quarantine(fed: Federation, row: RoundRow, proofs: Mapping[str, str]) -> None:
    """Ask nobody again who is proved a liar, or was silent too often; the journal has it already."""
    known, fed.quarantined = fed.quarantined, fed.stages.quarantined()
    for name, reason in proofs.items():
        log.warning(
            "round %d: %s is proved to have broken the protocol (%s); it is quarantined", row.round, name, reason
        )
    for name in fed.quarantined.keys() - known.keys() - proofs.keys():
        log.warning("round %d: %s is suspended (%s)", row.round, name, fed.quarantined[name])


async def rejected(fed: Federation, row: RoundRow) -> dict[str, str]:
    """Whom the defence keeps out, of all groups of a class together: they share one S."""
    round_ = masked(fed)
    out = dict.fromkeys(fed.members.revoked & round_.seats.keys(), REVOKED)
    files = await extras.ready(fed, row) if round_.sketches else {}
    views: dict[str, View] = {}
    for one in round_.classes:
        claims = {name: claim for group in one.groups for name, claim in group.eligible().items() if name not in out}
        if not claims:
            continue
        terms = one.masking.terms
        sketcher = next(group.sketcher for group in one.groups if group.eligible())
        own = await asyncio.to_thread(extras.claims_of, files, one.masking, sketcher)
        view = view_of_claims(claims, length=terms.length, norm_unit=terms.norm_unit, rounding=ROUNDING, extras=own)
        views[one.masking.client_class] = view
    if not views:
        return out
    fed.verdict = await found_by_class(fed, await watch(fed, row, views), row.round)
    return out | out_of(fed, row) | dict(fed.verdict.excluded)


def read_lanes(fed: Federation, row: RoundRow, name: str) -> Lanes:
    """A client's masked upload, mapped from the spool."""
    dtype = masked(fed).class_of(name).masking.terms.dtype
    return np.memmap(fed.intake.spool_path(fed.run, row.round, name), dtype=dtype, mode="r")


def masked(fed: Federation) -> MaskedRound:
    """The machine of the open round."""
    if fed.masked is None:
        raise RemoteProtocolError("no masked round is open", reason="stale")
    return fed.masked


def verdicts(row: RoundRow, result: Result, others: Mapping[str, str]) -> dict[str, str]:
    """Client -> verdict; `others`: of those without a seat, and of those who sent nothing."""
    sets = {name: others.get(name, "no-seat") for name in row.cohort}
    for name, reason in result.reasons.items():
        sets[name] = others.get(name, reason) if reason == "dropped" else reason
    return sets | dict.fromkeys(result.accepted, "")


def _owing_in(round_: MaskedRound, stage: Stage) -> set[str]:
    return {name for group in round_.groups if group.stage is stage for name in group.owing} - round_.out
