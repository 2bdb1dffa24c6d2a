"""A server's directory in the middle of a round, without a server, and what the command line makes of it."""

from __future__ import annotations

import asyncio
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roughfed.crypto.certificates import new_request, new_tls_key
from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.merkle import merkle_root
from roughfed.deploy.cli import app as cli
from roughfed.params import write_model
from roughfed.server.masked.journal import JournaledStage, Stages
from roughfed.server.members.authority import Authority
from roughfed.server.storage.store import ReceivedUpdate, RoundRow, Store
from roughfed.server.uploads.spool import update_name
from roughfed.types import Receipt, RoundHeader, Signed, Spec, TensorSpec, UpdateStatement
from roughfed.wire.session import encode_header
from roughfed.wire.updates import encode_statement

RUN, SPEC = "run-1", Spec((TensorSpec("w", (64,)),))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def header(number: int, *, masked: bool = False) -> Signed:
    sees = ("lanes", "sums") if masked else ("identity", "updates")
    found = RoundHeader(RUN, number, bytes(32), 0, SPEC.digest, bytes(32), *sees, merkle_root([b"a"]), 60.0)
    return Signed(encode_header(found), bytes(64), "server")


def opened(number: int, *, masked: bool = False) -> RoundRow:
    return RoundRow(number, header(number, masked=masked), ("a", "b"), 2, 5.0, None, None, None)


class Site:
    """A server's directory in the middle of round 3; nobody runs on it."""

    def __init__(self, folder: Path, *, masked: bool = False) -> None:
        self.folder, self.state = folder, folder / "state"
        folder.mkdir()
        (folder / "fed.toml").write_text('[model]\napp = "mine.py:client"\n')
        (folder / "mine.py").write_text("client = None\n")
        Authority.create(self.state / "ca", "fed", now=NOW)
        self.authority = Authority.open(self.state / "ca")
        self.authority.invite("open", now=datetime.now(UTC))
        (self.state / "papers").mkdir(mode=0o700)
        self.key = IdentityKey.generate()
        self.key.save(self.state / "papers" / "identity.key")
        (self.state / "papers" / "tls.key").write_text("secret tls.key")
        request = new_request(new_tls_key())
        self.authority.issue_server("server", request, self.key.public_key, now=datetime.now(UTC))
        for name in ("lock", "ports.json", "http.token", "worker.log"):
            (self.state / name).write_text("not of this")
        (self.state / "traces").mkdir()
        (self.state / "traces" / "t.json").write_text("{}")
        self.store = Store(self.state)
        self.stages = Stages(self.store.journal)
        asyncio.run(self._play(masked))

    async def _play(self, masked: bool) -> None:
        await self.store.create_run(RUN, SPEC, self.model(0), 1.0, began={"name": "fed", "task": "x", "init": ""})
        for number in (1, 2):
            await self.commit(number)
        await self.store.open_round(opened(3, masked=masked))
        await self.receive(3, "a")
        (self.state / "spool" / update_name(RUN, 3, "b")).write_bytes(b"half of it")
        await self.stages.submit(3, JournaledStage("advertise", "a", Signed(b"what a client said", bytes(64), "a")))
        for name in (
            "next.safetensors",
            "00000002.error",
            "00000001.delta",
            "00000003.delta",
            "00000002.opt-fedadam-m",
        ):
            (self.state / "models" / name).write_text(name)

    def model(self, version: int) -> bytes:
        path = self.state / "models" / "new"
        digest = write_model(path, SPEC, [np.full(64, version + 0.5, np.float32)])
        path.rename(self.store.model_path(digest))
        return digest

    async def commit(self, number: int) -> None:
        await self.store.open_round(opened(number))
        await self.store.set_sets(number, {"a": "", "b": ""})
        await self.store.commit(number, version=number, digest=self.model(number), now=9.0)

    async def receive(self, number: int, client: str) -> None:
        (self.state / "spool" / update_name(RUN, number, client)).write_bytes(f"update of {client}".encode())
        said = UpdateStatement(RUN, number, client, bytes(32), bytes(32), 28, 10)
        signed = Signed(encode_statement(said), bytes(64), client)
        await self.store.add_receipt(
            ReceivedUpdate(Receipt(RUN, number, client, bytes(32), 28, bytes(64)), said, signed), 1.0
        )

    def backup(self, *flags: str) -> Path:
        out = self.folder.parent / "b.tar"
        assert cli.run(["backup", "--dir", str(self.folder), "--out", str(out), *flags]) == 0
        return out


def names(file: Path) -> set[str]:
    with tarfile.open(file) as tar:
        return set(tar.getnames())


def restored(file: Path, folder: Path) -> Path:
    assert cli.run(["restore", str(file), "--dir", str(folder)]) == 0
    return folder / "state"


def last_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])
