"""A client in a masked round: steps 3 to 6 with codec and masks, and the answers that the server needs afterwards.

Keys and shares are exchanged while the client trains. Before anything leaves, what it follows from is written ahead
(`client/round/write_ahead.py`): after a restart the client says the same again, to the byte, or sits the round out.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from roughfed import crash
from roughfed.client.context import RoundTask
from roughfed.client.disclosure.limits import scale_of
from roughfed.client.disclosure.round import admit_stage
from roughfed.client.members.credential_files import Credentials
from roughfed.client.round import statistics as own
from roughfed.client.round.encode import drop_delta, residual_of
from roughfed.client.round.write_ahead import WriteAhead, open_secret, seal_secret
from roughfed.client.rules.epochs import record_epoch
from roughfed.client.rules.peers import Peers
from roughfed.client.rules.tier_selection import check_size
from roughfed.crypto.agreement import derive
from roughfed.crypto.masks import Lanes
from roughfed.crypto.member_list import MemberList
from roughfed.digest import content_digest
from roughfed.errors import (
    LocalProtocolError,
    RemoteProtocolError,
    RoughfedError,
    StaleRound,
    StorageError,
    TrainerError,
)
from roughfed.files import disk_errors
from roughfed.masked_round import Masking, masking_of
from roughfed.messages import ClientStage, ServerStage
from roughfed.secagg import statistics
from roughfed.secagg.adverts import FULL
from roughfed.secagg.client import Gives, Policy, State
from roughfed.secagg.messages import Roster
from roughfed.secagg.terms import Party
from roughfed.tiers import feeds_back, length_of, ranges_of, tensors_of
from roughfed.types import Signed
from roughfed.wire.enrolment import open_member
from roughfed.wire.secagg import STAGE_VALUES, StageWire, decode_stage

log = logging.getLogger(__name__)

T = TypeVar("T")

ANSWERS: Mapping[str, str] = {
    "roster": "shares",
    "deals": "opening",
    "seed": "sketch",
    "conflict": "opening",
    "sets": "consistency",
    "unmask": "unmask",
}
"""What a client answers to each of the server's stages."""

WORK: Mapping[str, str] = {
    "roster": "shares",
    "deals": "shares",
    "seed": "sketch",
    "conflict": "shares",
    "sets": "verify",
    "unmask": "unmask",
}
"""As what each of them is counted in the metrics (`client.metrics.CRYPTO`)."""

AT_REST = b"roughfed write-ahead key v1\0"
DITHER = b"roughfed dither v1\0"


class MaskedPart:
    """This client's part in one masked round."""

    def __init__(self, task: RoundTask, listed: MemberList) -> None:
        """Take up what was written ahead, or begin anew; `listed`: who may be a group mate.

        Raises:
            StaleRound: what was written ahead cannot be taken up; the round is sat out.
            RemoteProtocolError: a header that no round can have, or that this client's policy refuses.
        """
        session, header = task.session, task.header
        self._task, self._ctx, self._disclosed, self._header = task, task.ctx, session.disclosed, header
        self._peers = Peers(session.credentials.name, listed, session.rules)
        size = length_of(ranges_of(session.welcome.spec, tensors_of(header)))
        self.masking: Masking = masking_of(task.job.header, header, size=size, server_key=session.server_key)
        check_size(self.masking.upload_bytes, session.rules)
        self.ready = asyncio.Event()  # the shares are dealt: the masks are known
        self.turn = asyncio.Lock()
        self.over = False
        self._answers: dict[tuple[str, bytes], list[ClientStage]] = {}
        self._ahead = _open_ahead(task.ctx.store.folder, task.job.header.digest)
        self._key = derive(session.credentials.identity.private_bytes(), AT_REST, b"")
        with ExitStack() as stack:
            stack.callback(self._ahead.close)
            self._secret, gives = self._read_secret()
            policy = Policy(session.rules.policy.smallest_group, session.rules.policy.max_sketch_dim)
            self.machine = task.ctx.machine(
                self.masking.terms, _party(session.credentials, self._peers), self._secret, policy, gives=gives
            )
            self._replay()
            stack.pop_all()

    # -- what was written ahead ---------------------------------------------------------------------------------------

    def _read_secret(self) -> tuple[bytes, Gives]:
        """The round's secret, and what was promised with the advert."""
        digest = self.masking.terms.header_digest  # of its tier: in another one it opens nothing
        for record in self._ahead.records:
            name, _, promised = record.name.partition(":")
            if name == "secret":
                return open_secret(self._key, record.body, digest), own.promised(promised)
        gives = own.promises(self._task, self.masking.statistics)
        secret = self._ctx.round_secret(self._task.job.header.digest)
        sealed = seal_secret(self._key, secret, digest, os.urandom)
        self._ahead.append("secret:" + own.letters_of(gives), sealed)
        crash.point("secret-written")
        return secret, gives

    def _replay(self) -> None:
        if (known := self._ctx.store.update(self._header.run, self._header.round)) is not None:
            self.machine.uploaded(known.signed)  # what seed and sets among the records are held against
        for record in self._ahead.records:
            if record.name.startswith("in:"):
                body, signature = _split(record.body)
                self._receive(ServerStage(record.name.removeprefix("in:"), body, signature))
            elif record.name == "masked":
                lanes = self._written_lanes(record.body)
                self.machine.resume(lanes)

    def _written_lanes(self, digest: bytes) -> Lanes:
        path = self._ctx.store.update_path(self._header.round)
        with disk_errors("read the update"):
            data = path.read_bytes() if path.exists() else b""
        if content_digest(data) != digest:
            raise StaleRound("the masked bytes of this round are gone; it is sat out", reason="sat-out")
        return np.frombuffer(data, dtype=self.masking.terms.dtype)

    @property
    def masked(self) -> bool:
        """The masked bytes are written ahead."""
        return any(record.name == "masked" for record in self._ahead.records)

    # -- the conversation ---------------------------------------------------------------------------------------------

    def advertise(self) -> None:
        """Say who takes part, with which keys; the same after a restart."""
        self._ctx.send(ClientStage("advertise", self.machine.advert))

    async def accept(self, message: ServerStage) -> None:
        """Answer one stage; a stage that was answered before is answered the same.

        Raises:
            RemoteProtocolError, IdentityError: the server broke a rule; this client is out of the round.
        """
        key = (message.kind, message.body)
        async with self.turn:
            if key not in self._answers:
                self._look_ahead(message)
                await self._record(message)
                record = len(message.body).to_bytes(4, "big") + message.body + message.signature
                await to_the_end(self._ahead.append, f"in:{message.kind}", record)
                crash.point("message-written")
                try:
                    self._receive(message)
                except RoughfedError:
                    if message.kind == "sets":  # nor is a sum noted that was none
                        await self._disclosed.forget_sum(self._header)
                    raise
                if message.kind == "roster":
                    await record_epoch(self._ctx.store, self._header, self.machine.beacon)
            for answer in self._answers[key]:
                self._ctx.send(answer)
                crash.point("answer-sent")
        if self.machine.state is State.OUT:
            raise StaleRound("too few others confirmed their keys to this client", reason="left-out")

    def _look_ahead(self, message: ServerStage) -> None:
        """A second seed, or other sets, must not even be noted: the replay would end there."""
        if message.kind != "conflict" and any(kind == message.kind for kind, _ in self._answers):
            raise RemoteProtocolError(f"another {message.kind} than before in one round", reason="two-answers")
        if message.kind == "roster":
            self._peers.check(decode_stage(Roster, message.body), self._header)

    def _receive(self, message: ServerStage) -> None:
        value = decode_stage(STAGE_VALUES[message.kind], message.body)
        signed = Signed(message.body, message.signature, "") if message.signature else None
        with self._ctx.metrics.crypto(WORK[message.kind]):
            answers = self.machine.receive(value, signed)
        kind = ANSWERS[message.kind]
        self._answers[message.kind, message.body] = [ClientStage(kind, answer) for answer in answers]
        if self.machine.state not in (State.ADVERTISED, State.DEALT):
            self.ready.set()

    async def _record(self, message: ServerStage) -> None:
        """What is shown of this client is counted before it is shown, or refused."""
        await admit_stage(self._disclosed, self._header, message, self._task.session.rules)

    # -- the update ---------------------------------------------------------------------------------------------------

    async def mask(self, delta: Path, values: Mapping[str, Sequence[int]]) -> None:
        """Steps 3 to 5: clip, encode, mask; the masked bytes are on disk when this returns.

        Args:
            delta: bare float32 [D] file of the trainer; deleted.
            values: this client's statistics by name; what was not promised stays here.

        Raises:
            StaleRound: the round went on without this client.
        """
        async with self.turn:
            if self.machine.state is not State.READY:
                raise StaleRound("the round went on without this client's update", reason="late")
            gives, counts = self.machine.gives, self.machine.counts
            given = {name: numbers for name, numbers in values.items() if own.may_give(name, gives, counts)}
            if gives.statics and counts.statics:
                await own.record_statics(self._task)
            await own.record_trained(self._task, given)
            digest, share = await to_the_end(self._mask, delta, given)
            await asyncio.gather(  # one commit
                self._ctx.store.record_share(self._header.run, self._header.round, share),
                self._disclosed.record_sent(
                    self._header, scale_of(self._header.clip_norm, self.masking.params.longest / share)
                ),
            )
            await to_the_end(self._ahead.append, "masked", digest)
            crash.point("masked-written")

    def _mask(self, delta: Path, values: dict[str, Sequence[int]]) -> tuple[bytes, float]:
        """(digest of the masked bytes, the share of the update that the clip let through)."""
        from roughfed.codec import chain  # the kernels: loaded where there is something to encode

        masking, store = self.masking, self._ctx.store
        residual = residual_of(store.folder, self._header.run)
        later = feeds_back(self._header)
        before = residual.load() if later else None
        with disk_errors("read the delta"):
            wanted = np.memmap(delta, dtype="<f4", mode="r")
        if len(wanted) != masking.params.size:
            raise StorageError(f"the delta has {len(wanted)} values, the model {masking.params.size}")
        fitting = before if before is not None and len(before) == len(wanted) else None
        dither = derive(self._secret, DITHER, b"")
        work = residual.begin(self._header.round, masking.params.layout.padded) if later else None
        try:
            weight = self.machine.gives.quarters / FULL
            with self._ctx.metrics.codec(self._header.codec, "encode"):
                encoded = chain.encode(wanted, fitting, masking.params, secret=dither, work=work, weight=weight)
        except LocalProtocolError as error:
            raise TrainerError(f"local training gave no finite update: {error}", reason="not-finite") from None
        bucket = statistics.norm_bucket(encoded.norm / masking.params.clip_norm)
        values["norm-histogram"] = statistics.one_hot(bucket, statistics.NORM_BUCKETS)
        wanted_names = {s.name: s for s in masking.statistics}
        given = {
            name: numbers
            for name, numbers in values.items()
            if name in wanted_names and len(numbers) == wanted_names[name].length
        }
        terms = masking.terms
        tail = statistics.encode(given, masking.statistics, levels=terms.levels, dtype=terms.dtype)
        with self._ctx.metrics.crypto("mask"):
            lanes = self.machine.mask(np.concatenate([encoded.codes, tail]))
        if later:
            residual.propose(self._header.round, masking.params.size)
        data = memoryview(lanes).cast("B")
        # Not synced: the record of their digest is, and bytes that a power cut took are a round that is sat out.
        store.write_update(self._header.round, data)
        drop_delta(delta)
        return content_digest(data), min(1.0, masking.params.longest / encoded.norm) if encoded.norm else 1.0

    def uploaded(self, statement: Signed) -> None:
        """What seed and sets must show of this client."""
        self.machine.uploaded(statement)

    def close(self) -> None:
        """Keep what was written ahead for a restart; delete it when the round is over."""
        if self.over:
            self._ahead.forget()
        else:
            self._ahead.close()


async def to_the_end(work: Callable[..., T], *args: object) -> T:
    """Run something in a thread; a job that is cancelled meanwhile ends only when the thread has."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


def _open_ahead(folder: Path, header_digest: bytes) -> WriteAhead:
    """The write-ahead file of the round with this header; those of other rounds are deleted."""
    name = f"masked-{header_digest.hex()}.ahead"
    for other in folder.glob("masked-*.ahead"):
        if other.name != name:
            other.unlink()
    return WriteAhead(folder / name)


def _split(record: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(record[:4], "big")
    return record[4 : 4 + length], record[4 + length :]


def _party(credentials: Credentials, peers: Peers) -> Party:
    def member(entry: bytes) -> tuple[str, bytes]:
        found = open_member(entry, credentials.ca_certificate, federation=credentials.external)
        if found.role != "client":
            raise RemoteProtocolError(f"{found.name} is a {found.role}, not a client", reason="role")
        peers.check_member(found.name, found.identity_key)
        return found.name, found.identity_key

    return Party(credentials.name, credentials.identity.sign, member, StageWire())


def warm(part: MaskedPart) -> asyncio.Task[None]:
    """Load the codec's kernels while the client trains (they compile once a machine)."""

    def work() -> None:
        from roughfed.codec import chain

        chain.warm(part.masking.params.lanes)

    return asyncio.create_task(asyncio.to_thread(partial(work)))
