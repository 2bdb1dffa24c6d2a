"""A masked round against the clock: what is decided is journaled, then said; who owes an answer is waited for.

A stage waits for every connected client that owes something, and a short grace for those whose stream broke. Who is
silent is lost for the round, or, after its upload, only noted: enough others answer, or its group is void.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np

from roughfed import crash
from roughfed.codec.plan import Lanes as CodecLanes
from roughfed.crypto.masks import Lanes
from roughfed.errors import IdentityError, RemoteProtocolError
from roughfed.masked_round import Masking, maskings_of
from roughfed.messages import ClientStage
from roughfed.secagg.groups import smallest_sum
from roughfed.secagg.server import Stage
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.defence import ROUNDING, View, view_of_claims
from roughfed.server.fairness.client_weights import by_classes
from roughfed.server.masked.decisions import (
    KINDS,
    Fact,
    GroupAgreed,
    QuestionsAsked,
    RosterDrawn,
    SetsJudged,
    SharesDealt,
    SketchesClosed,
    UploadsClosed,
    decode,
    encode,
)
from roughfed.server.masked.journal import SILENT, JournaledStage
from roughfed.server.masked.opening import limits_of
from roughfed.server.masked.outcome import Result, next_clip, summed_evaluation
from roughfed.server.masked.stages import MaskedRound, ServerSide
from roughfed.server.members.sessions import ClientSession
from roughfed.server.round.updates import reference_updates
from roughfed.server.round.updates.interface import STATICS, Statistics, Updates, open_round_of
from roughfed.server.round.updates.unmasking import mean_of_groups, unmasked
from roughfed.server.round.verdict import judge_views
from roughfed.server.storage.slices import Mean
from roughfed.server.storage.store import ACCEPTED, EVERYBODY, GONE
from roughfed.server.uploads.admission import REVOKED
from roughfed.server.uploads.payload import OpenRound
from roughfed.tiers import STANDARD
from roughfed.types import Evaluation, Signed
from roughfed.wire.enrolment import open_member

log = logging.getLogger(__name__)

STAGE_S = 30.0
"""A connected client that owes an answer is waited for so long; answers take milliseconds."""

RESCUE_S = 8.0
"""A process that was killed is back after some seconds: worth waiting for where a group is void without it."""

WARMED: set[CodecLanes] = set()
"""Whose decoder's kernels are loaded."""

FACT = "fact:"
"""Before the kind of a fact in the journal, where clients' stages stand as well."""


class MaskedUpdates(Updates):
    """Updates of which the server learns sums of groups."""

    def __init__(self, ctx: ServerContext, round_: RoundState) -> None:
        """What the journal knows of the round is played again."""
        super().__init__(ctx, round_)
        round_.masked = self._machine = machine_of(ctx, round_)
        ctx.trace.stage(self._machine.stage)

    def demand(self) -> OpenRound:
        """As many bytes as the masks of each tier have."""
        first = open_round_of(self._ctx, self._round)
        demands = {m.tier: replace(first, size_bytes=m.upload_bytes) for m in self._machine.maskings}
        return replace(demands.pop(STANDARD), tiers=demands)

    # -- before there are updates -------------------------------------------------------------------------------------

    async def set_up(self) -> str:
        """Adverts, roster, shares, deals, while the clients train."""
        ctx, machine = self._ctx, self._machine
        ctx.executor.submit(warm, machine.maskings)  # the kernels of the decoder, while the clients train
        if "roster" not in machine.done:
            await self._wait_for_answers(machine.owing, grace_until=self._while_all_download)
            await self._decide(RosterDrawn())
            for one in machine.tiers:
                await ctx.stages.note_beacon(self._round.number, one.beacon, one.masking.tier)
        if not machine.groups:
            return "too-few-adverts"
        if "dealt" not in machine.done:
            await self._wait_for_answers(machine.owing, grace_until=self._while_all_download)
            await self._decide(SharesDealt())
        if (collection := self._round.collection) is not None:
            for name in collection.members - set(machine.uploaders()):  # also one that is gone: it may come back late
                collection.refuse(name, GONE if name in collection.gone else _no_upload(machine, name))
            collection.groups = [(frozenset(group.dealers), smallest_sum(len(group.names))) for group in machine.groups]
        return ""

    def collected(self) -> bool:
        """Whether it is decided whose upload is here."""
        return "masked" in self._machine.done

    # -- with the updates ---------------------------------------------------------------------------------------------

    async def agree(self) -> None:
        """Seed, sketches, disputes, defence, sets, signatures, answers: what the groups give."""
        machine = self._machine
        if "masked" not in machine.done:
            received = self._ctx.store.receipts(self._ctx.run, self._round.number)
            await self._decide(UploadsClosed({name: update.signed for name, update in received.items()}))
        if machine.sketches and "sketched" not in machine.done:
            await self._wait_for_answers(self._owing_sketches)
            while machine.questions():
                await self._decide(QuestionsAsked())
                await self._wait_for_answers(self._owing_sketches)
            await self._decide(SketchesClosed())
        if "judged" not in machine.done:
            await self._decide(SetsJudged(await self._rejected()))
        if any(group.stage is Stage.AGREEING for group in machine.groups):
            await self._wait_for_answers(lambda: self._owing_in(Stage.AGREEING))
            for number in machine.ready_to_unmask():
                await self._decide(GroupAgreed(number))
        await self._wait_for_answers(lambda: self._owing_in(Stage.UNMASKING))
        self._round.result = await self._conclude()

    async def _conclude(self) -> Result:
        """Unmask, check and judge the groups, and journal what outlives the round.

        Raises:
            TooFewClients: the defence cannot hold among so few groups.
        """
        ctx, machine, number = self._ctx, self._machine, self._round.number
        ctx.state.enter("unmask")
        result = await unmasked(ctx, self._round, machine, self._read_lanes)
        limits = limits_of(ctx.config)
        clips = {one.masking.tier: next_clip(one, number=number, limits=limits) for one in result.tiers if one.accepted}
        connected = set(ctx.clients.names())
        silent = dict.fromkeys(machine.without_advert(), "no advert") | result.noted
        openly = machine.out  # whoever refused openly is not silent
        noted = {n: what for n, what in silent.items() if what not in SILENT or (n in connected and n not in openly)}
        await ctx.stages.note_end(
            number, next_clips=clips, statistics=result.sums, proofs=result.proofs, noted=noted, now=time.time()
        )
        self._quarantine(result.proofs)
        for group, why in result.void.items():
            log.warning("round %d: group %d is void: %s", number, group, why)
        void = len(result.void)
        ctx.metrics.groups(counted=len(machine.groups) - void, void=void, proofs=len(result.proofs))
        return result

    async def verdicts(self, missing: Mapping[str, str], *, defend: bool) -> dict[str, str]:
        """As the groups gave them; before they are unmasked nobody counts."""
        del defend
        result, revoked = self._round.result, self._ctx.clients.revoked
        if result is None:
            received = self._ctx.store.receipts(self._ctx.run, self._round.number)
            return dict.fromkeys(received, "abandoned") | dict(missing)
        sets = {name: missing.get(name, "no-seat") for name in self._round.row.cohort}
        for name, reason in result.reasons.items():
            sets[name] = missing.get(name, reason) if reason == "dropped" else reason
        sets |= dict.fromkeys(result.accepted, ACCEPTED)
        return sets | {name: REVOKED for name in revoked & sets.keys() if sets[name] != ACCEPTED}

    def statistics(self, sets: Mapping[str, str]) -> tuple[Statistics, Mapping[str, Statistics]]:
        """A client tells its counts once a run, so each round's sum is a source of its own."""
        del sets
        if (result := self._round.result) is None:
            return {}, {}
        found = {name: result.sums[name] for name in STATICS if any(result.sums.get(name, ()))}
        return result.sums, ({f"{EVERYBODY}{self._round.number}": found} if found else {})

    def nothing_to_sum(self) -> str:
        """Whether no group counts."""
        return "" if self._round.row.accepted else "nothing-accepted"

    async def prepare_mean(self) -> None:
        """After a restart the groups are unmasked again."""
        if self._round.result is None:
            self._round.result = await self._conclude()

    def mean(self, weighting: str) -> AbstractContextManager[Mean]:
        """Of the groups' sums."""
        del weighting
        return mean_of_groups(self._ctx, self._round)

    def evaluations(self) -> list[tuple[str, Evaluation]]:
        """All together."""
        result = self._round.result
        found = None if result is None else summed_evaluation(result, self._round.header.model_digest)
        return [] if found is None else [(EVERYBODY, found)]

    async def give_up(self) -> None:
        """What was proved stands."""
        proofs = {name: reason for group in self._machine.groups for name, reason in group.proofs.items()}
        if proofs:
            await self._ctx.stages.note_end(self._round.number, proofs=proofs, now=time.time())
            self._quarantine(proofs)

    async def forget_stages(self) -> None:
        """Nothing of what the clients said stays in the journal."""
        await self._ctx.stages.forget(self._round.number)
        crash.point("stages-forgotten")

    def discard(self) -> None:
        """Delete the groups that were kept apart."""
        if self._round.result is not None:
            self._round.result.discard()

    # -- how it gets there --------------------------------------------------------------------------------------------

    async def _decide(self, fact: Fact) -> None:
        """A fact: journaled, then said."""
        ctx, kind = self._ctx, KINDS[type(fact)]
        outgoing = self._machine.apply(fact)
        ctx.trace.stage(self._machine.stage)
        await ctx.stages.submit(self._round.number, JournaledStage(FACT + kind, "", Signed(encode(fact), b"", "")))
        crash.point(f"{kind}-decided")
        for name, message in outgoing:
            if (session := ctx.clients.get(name)) is not None:
                session.send(message)
        ctx.state.wake()

    async def _wait_for_answers(
        self, pending: Callable[[], set[str]], *, grace_until: Callable[[], float] = lambda: 0.0
    ) -> None:
        """Return when nobody owes anything any more who can be waited for.

        Who is gone gets the grace of the collection; longer where its group would be void without those who are gone,
        and everybody until `grace_until` (by the clock of rounds).
        """
        state, collection = self._ctx.state, self._round.collection
        until = state.clock() + self._ctx.extensions.in_time(STAGE_S, share=0.5)  # other stages follow
        while names := pending():
            now = state.clock()
            gone = collection.gone if collection is not None else {}
            absent = names & gone.keys()  # every message wakes us: nothing here may look at each of those present
            ends = [gone[name] + self._extra_grace(name, gone) for name in absent]
            ends += [until] * (len(absent) < len(names))
            moments = [moment for moment in ends if moment > now] or [grace_until()]
            if min(moments) <= now:
                return
            await state.sleep_until_change(min(moments))
            if state.stopping:
                raise asyncio.CancelledError  # the round stays open in the journal; the next start goes on with it
            self._ctx.extensions.check()

    def _while_all_download(self) -> float:
        return until_all_downloaded(self._ctx, self._round)

    def _extra_grace(self, name: str, gone: Mapping[str, float]) -> float:
        """Seconds beyond the grace for which a client that is gone is waited for."""
        group = self._machine.group_of.get(name)
        if group is None or sum(mate not in gone for mate in group.names) >= group.threshold:
            return 0.0
        return RESCUE_S

    def _owing_sketches(self) -> set[str]:
        return set() if self._machine.questions() else self._machine.owing()

    def _owing_in(self, stage: Stage) -> set[str]:
        groups = (group for group in self._machine.groups if group.stage is stage)
        return {name for group in groups for name in group.owing} - self._machine.out

    async def _rejected(self) -> dict[str, str]:
        """Whom the defence keeps out, of all groups of a tier together: they share one S."""
        ctx, round_, machine = self._ctx, self._round, self._machine
        out = dict.fromkeys(ctx.clients.revoked & machine.group_of.keys(), REVOKED)
        files = await reference_updates.ready(ctx, round_) if machine.sketches else {}
        views: dict[str, View] = {}
        for one in machine.tiers:
            claims = {n: claim for group in one.groups for n, claim in group.eligible().items() if n not in out}
            if not claims:
                continue
            terms, longest = one.masking.terms, one.masking.params.clip_share
            sketcher = next(group.sketcher for group in one.groups if group.eligible())
            own = await asyncio.to_thread(reference_updates.claims_of, files, one.masking, sketcher)
            views[one.masking.tier] = view_of_claims(
                claims,
                length=terms.length,
                norm_unit=terms.norm_unit,
                rounding=ROUNDING,
                longest=longest,
                extras=own,
            )
        if not views:
            return out
        judged = await ctx.extensions.on_views(round_, views, {})
        round_.verdict = await judge_views(ctx, round_, judged)
        return out | ctx.extensions.excluded(round_) | dict(round_.verdict.excluded)

    def _quarantine(self, proofs: Mapping[str, str]) -> None:
        """Ask nobody again who is proved a liar, or was silent too often; the journal has it already."""
        clients, number = self._ctx.clients, self._round.number
        known, clients.quarantined = clients.quarantined, self._ctx.stages.quarantined()
        for name, reason in proofs.items():
            log.warning(
                "round %d: %s is proved to have broken the protocol (%s); it is quarantined", number, name, reason
            )
        for name in clients.quarantined.keys() - known.keys() - proofs.keys():
            log.warning("round %d: %s is suspended (%s)", number, name, clients.quarantined[name])

    def _read_lanes(self, name: str) -> Lanes:
        """A client's masked upload, mapped from the spool."""
        dtype = self._machine.tier_round_of(name).masking.terms.dtype
        path = self._ctx.intake.spool_path(self._ctx.run, self._round.number, name)
        return np.memmap(path, dtype=dtype, mode="r")


def machine_of(ctx: ServerContext, round_: RoundState) -> MaskedRound:
    """The machine of a round; what the journal knows of it is played again.

    Raises:
        RemoteProtocolError: reason "storage"; the journal lacks the round's nonce.
    """
    row = round_.row
    maskings = maskings_of(row.header, round_.header, spec=ctx.spec, server_key=ctx.identity.key.public_key)
    opening = ctx.stages.opening(row.round)
    if opening is None:
        raise RemoteProtocolError(f"round {row.round} is masked and its nonce is not journaled", reason="storage")

    def member(entry: bytes) -> tuple[str, bytes]:
        found = open_member(entry, ctx.identity.ca_certificate, federation=ctx.identity.external)
        return found.name, found.identity_key

    def sign(domain: bytes, body: bytes) -> bytes:
        with ctx.work.time("sign"):
            return ctx.identity.key.sign(domain, body)

    weighs = ctx.config.trainer.self_weight or by_classes(ctx.config)
    machine = MaskedRound(maskings, frozenset(row.cohort), ServerSide(sign, member, opening.nonce), weighs)
    for step in ctx.stages.steps(row.round):
        if step.kind.startswith(FACT):
            machine.apply(decode(step.kind.removeprefix(FACT), step.signed.body))
        else:
            machine.take(step.kind, step.signed, step.entry)
    return machine


def accept_stage(ctx: ServerContext, session: ClientSession, stage: ClientStage) -> None:
    """A stage of a client: into the machine, then into the journal. One that breaks a rule is only counted."""
    round_ = ctx.state.round
    if round_ is None or (machine := round_.masked) is None:
        ctx.metrics.stage_refused("late")
        return
    signed = Signed(stage.signed.body, stage.signed.signature, session.name)
    entry = session.hello.member if stage.kind == "advertise" else b""
    try:
        with ctx.work.time("verify"):
            if stage.kind == "advertise":
                machine.check_tier(signed, round_.tiers.get(session.name, STANDARD))
            new = machine.take(stage.kind, signed, entry)
    except (RemoteProtocolError, IdentityError) as error:
        ctx.metrics.stage_refused(error.reason)
        log.info("round %d: %s of %s refused (%s): %s", round_.number, stage.kind, session.name, error.reason, error)
        return
    if new:
        ctx.stages.submit(round_.number, JournaledStage(stage.kind, session.name, signed, entry))
        crash.point(f"{stage.kind}-taken")
        ctx.state.wake()


def until_all_downloaded(ctx: ServerContext, round_: RoundState) -> float:
    """Until when there is leisure to agree on keys: the deadline as long as everybody who is here waits for the model.

    Masks are needed later, so a connection that broke, or that the model fills, has time. Whose phase changes wakes us.
    """
    if (collection := round_.collection) is None:
        return 0.0
    sessions = [ctx.clients.get(name) for name in collection.members - collection.refused.keys()]
    phases = {session.phase for session in sessions if session is not None}
    return collection.deadline if "downloading" in phases and phases <= {"downloading", "idle"} else 0.0


def warm(maskings: Sequence[Masking]) -> None:
    """Load the decoder's kernels; the first process on a machine compiles them."""
    from roughfed.codec import chain

    for lanes in {masking.params.lanes for masking in maskings} - WARMED:
        chain.warm(lanes)
        WARMED.add(lanes)


def _no_upload(machine: MaskedRound, name: str) -> str:
    """What keeps a client from uploading anything."""
    if (group := machine.group_of.get(name)) is None:
        return machine.refused.get(name, "no-advert")
    return "left-out" if name in group.dealers else "no-shares"
