"""A server on a folder without gRPC, and clients that mask: whole rounds in one process.

The server is the real one, journal and spool included; a client is its machine, its codec, and an update from a table.
Everything secret of a client follows from its name and the header, so one that starts again says the same again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roughfed.client.round.masked_part import ANSWERS
from roughfed.client.round.statistics import may_give
from roughfed.codec.chain import decode_sum, encode
from roughfed.config import FederationConfig
from roughfed.digest import content_digest
from roughfed.errors import RoughfedError
from roughfed.masked_round import Masking, masking_of, maskings_of
from roughfed.messages import ClientStage, Hello, RoundClosed, ServerStage
from roughfed.params import place_durably, write_model
from roughfed.secagg import statistics
from roughfed.secagg.adverts import FULL, Gives
from roughfed.secagg.client import ClientRound, Policy, State
from roughfed.secagg.terms import Party
from roughfed.server.context.server import ServerIdentity
from roughfed.server.members.sessions import ClientSession
from roughfed.server.round.engine import run_round
from roughfed.server.round.events import RoundEvents
from roughfed.server.round.updates.masked import accept_stage
from roughfed.server.storage.store import RoundRow, Store
from roughfed.tiers import names_of, tier_in_round
from roughfed.types import Job, Receipt, Signed, Spec, TensorSpec, UpdateStatement
from roughfed.wire.secagg import STAGE_VALUES, decode_stage
from roughfed.wire.session import decode_header
from roughfed.wire.updates import UPDATE_DOMAIN, encode_statement
from tests.server_context import context

from .secagg import SERVER, StageWire, authority, identity, member_entry, open_entry

SPEC = Spec((TensorSpec("w", (600,)),))
EXAMPLES = 100
Flat = NDArray[np.float32]


@dataclass
class MaskedRig:
    """A server and its clients.

    Attributes:
        deltas: what each of them trained.
        quarters: who weighs itself down.
        tiers: who belongs to which tier of clients.
        lost: who says hello and never answers; "upload:NAME" deals shares and uploads nothing.
        settings: tables of fed.toml.
        garbage: who sends "noise" as wide as the lanes, or "other" bytes than it signs, in place of its update.
        closed: what each was told at the end.
    """

    folder: Path
    deltas: Mapping[str, Flat]
    quarters: Mapping[str, int] = field(default_factory=dict)
    tiers: Mapping[str, str] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()
    spec: Spec = SPEC
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    garbage: Mapping[str, str] = field(default_factory=dict)
    closed: dict[str, RoundClosed] = field(default_factory=dict)
    flexible: frozenset[str] = frozenset()
    jobs: dict[str, int] = field(default_factory=dict)

    def play(self) -> RoundRow:
        """One round, or the rest of one."""
        return asyncio.run(self._play())

    async def _play(self) -> RoundRow:
        store = Store(self.folder)
        tables: dict[str, dict[str, Any]] = {
            "privacy": {"server_sees": "sums"},
            "round": {"deadline": 60.0, "evaluate_every": 0},
            "codec": {"downlink": "identity"},
            "trainer": {"self_weight": bool(self.quarters)},
        }
        for table, values in self.settings.items():
            tables[table] = tables.get(table, {}) | dict(values)
        config = FederationConfig.model_validate(tables)
        with ThreadPoolExecutor(2) as executor:
            who = ServerIdentity("server", SERVER, ca_certificate=authority().certificate)
            self.ctx = ctx = context(config, store, SERVER, executor, self.spec, identity=who, num_classes=2)
            RoundEvents(ctx)
            if store.run() is None:
                path = self.folder / "models" / "first.safetensors"
                digest = write_model(path, self.spec, [np.zeros(self.spec.size, dtype=np.float32)])
                place_durably(path, store.model_path(digest))
                await store.create_run("run-1", self.spec, digest, 1.0)
            sessions = [self._join(name) for name in sorted(self.deltas)]
            tasks = [asyncio.create_task(self._client(session)) for session in sessions]
            try:
                row = await run_round(ctx)
                for session in sessions:
                    session.close("done")
                await asyncio.gather(*tasks)
                return row
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                store.close()

    def _join(self, name: str) -> ClientSession:
        own = self.tiers.get(name, "")
        hello = Hello("1", 1, member_entry(name), b"", ("lanes",), "", own, standard_if_few=name in self.flexible)
        session = ClientSession(name, identity(name).public_key, content_digest(hello.member), hello)
        self.ctx.clients.join(session)
        return session

    async def _client(self, session: ClientSession) -> None:
        name, machine = session.name, None
        while (message := await session.queue.get()) is not None:
            if isinstance(message, RoundClosed):
                self.closed[name] = message
            elif isinstance(message, Job):
                if name in self.lost:
                    self.ctx.state.round.masked.out.add(name)  # as `RoundEvents` does: it goes by its own word
                    self.ctx.state.round.collection.refuse(name, "client-refused")
                    self.ctx.state.wake()
                    continue
                self.jobs[name] = self.jobs.get(name, 0) + 1
                job, masking = message, self.masking_of(name, message.header)
                machine = self._machine(name, masking)
                accept_stage(self.ctx, session, ClientStage("advertise", machine.advert))
            elif isinstance(message, ServerStage) and machine is not None:
                value = decode_stage(STAGE_VALUES[message.kind], message.body)
                signed = Signed(message.body, message.signature, "") if message.signature else None
                for answer in machine.receive(value, signed):
                    accept_stage(self.ctx, session, ClientStage(ANSWERS[message.kind], answer))
                if machine.state is State.READY and f"upload:{name}" in self.lost:
                    self.ctx.state.round.collection.refuse(name, "client-failed")
                    self.ctx.state.wake()
                elif machine.state is State.READY:
                    await self._upload(name, job, masking, machine)

    def _machine(self, name: str, masking: Masking) -> ClientRound:
        party = Party(name, identity(name).sign, open_entry, StageWire())
        gives = Gives(statics=True, quarters=self.quarters.get(name, FULL))
        return ClientRound(masking.terms, party, secret_of(name, masking), Policy(largest_dim=1024), gives=gives)

    async def _upload(self, name: str, job: Job, masking: Masking, machine: ClientRound) -> None:
        given = {"examples": [EXAMPLES]}
        given = {key: values for key, values in given.items() if may_give(key, machine.gives, machine.counts)}
        tail = statistics.encode(given, masking.statistics, levels=masking.terms.levels, dtype=masking.terms.dtype)
        codes = self.codes(name, masking)
        if self.garbage.get(name) == "noise":
            codes = np.random.default_rng(1).integers(0, masking.terms.levels, len(codes), dtype=codes.dtype)
        data = machine.mask(np.concatenate([codes, tail])).tobytes()
        number = decode_header(job.header.body).round
        digest = content_digest(data if self.garbage.get(name) != "other" else data[1:])
        statement = UpdateStatement(
            "run-1",
            number,
            name,
            job.header.digest,
            digest,
            len(data),
            0,
            tier=masking.tier,
            view_digest=machine.view_digest,
        )
        body = encode_statement(statement)
        signed = Signed(body, identity(name).sign(UPDATE_DOMAIN, body), name)
        machine.uploaded(signed)
        with suppress(RoughfedError):  # refused or late; the round says so
            upload = await self.ctx.intake.begin(name, signed)
            if not isinstance(upload, Receipt):
                await self.ctx.intake.write(
                    name, upload, offset=upload.position, data=memoryview(data)[upload.position :]
                )
                await self.ctx.intake.finish(name, upload)

    def masking_of(self, name: str, signed: Signed) -> Masking:
        """What a client of its class makes of a header."""
        header, own = decode_header(signed.body), self.tiers.get(name, "")
        place = tier_in_round(header, own, standard_if_few=name in self.flexible)
        maskings = maskings_of(signed, header, spec=self.spec, server_key=SERVER.public_key)
        return maskings[names_of(header).index(place)]

    # -- what must come of it ------------------------------------------------------------------------------------------

    def codes(self, name: str, masking: Masking) -> NDArray[np.unsignedinteger]:
        """The codes of a client's update."""
        weight = self.quarters.get(name, FULL) / FULL
        secret = secret_of(name, masking)
        delta = np.concatenate([self.deltas[name][start:stop] for start, stop in masking.ranges])
        return encode(delta, None, masking.params, secret=secret, weight=weight).codes

    def mean(self, names: list[str], masking: Masking) -> Flat:
        """The mean of some clients' updates as the codec says it, added up in the clear."""
        total = sum(self.codes(name, masking).astype(np.uint64) for name in names)
        weight = sum(self.quarters.get(name, FULL) for name in names) / FULL
        return decode_sum(np.asarray(total), len(names), masking.params, weight=weight)


def masking_of_row(row: RoundRow) -> Masking:
    """The same from the journal."""
    return masking_of(row.header, decode_header(row.header.body), size=SPEC.size, server_key=SERVER.public_key)


def secret_of(name: str, masking: Masking) -> bytes:
    """A client's secret of a round."""
    return hashlib.sha256(name.encode() + masking.terms.header_digest).digest()
