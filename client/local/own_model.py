"""What it takes to make this client's own model once more: noted with every job, read by `roughfed personal`.

The note names the newest global model that is here, and the learning settings; the client's own tensors and models lie
sealed in the trainer's state. Nothing of it is sent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from roughfed.client.members import credential_files
from roughfed.crypto.agreement import derive
from roughfed.errors import ConfigError
from roughfed.files import disk_errors, write_durably
from roughfed.trainer_client import Trainer
from roughfed.training import StatePlace, Turn

TRAINER_STATE = b"roughfed trainer state key v1\0"
NOTE = "own-model.json"


@dataclass(frozen=True, slots=True)
class OwnModel:
    """One client's own model, as it can be made.

    Attributes:
        model: digest of the global model that it is made from.
        settings: the learning settings.
        turn: the round that it was noted in, without the place of the state.
    """

    model: bytes
    settings: Mapping[str, object]
    turn: Turn


def state_place(state: Path, credentials: credential_files.Credentials) -> StatePlace:
    """Where the trainer keeps what it remembers, and the key that only this client has."""
    return StatePlace(state / "trainer", derive(credentials.identity.private_bytes(), TRAINER_STATE, b""))


async def record_own_model(state: Path, own: OwnModel) -> None:
    """Keep the note of the newest job."""
    turn = replace(own.turn, state=None, audit=None, said={}, wanted=())
    note = {"model": own.model.hex(), "settings": dict(own.settings), "turn": turn.plain(), "made": True}
    await asyncio.to_thread(write_durably, state / NOTE, json.dumps(note).encode(), mode=0o600, sync=False)


async def record_no_own_model(state: Path, settings: Mapping[str, object]) -> None:
    """The same of a client that has no model of its own: the same note after each job, so it is written once."""
    path, note = state / NOTE, json.dumps({"settings": dict(settings), "made": False}).encode()
    if not path.exists() or path.read_bytes() != note:
        await asyncio.to_thread(write_durably, path, note, mode=0o600, sync=False)


def read_own(state: Path) -> OwnModel:
    """The note of the newest job.

    Raises:
        ConfigError: there is none, or the federation gives its clients no models of their own.
    """
    path = state / NOTE
    if not path.exists():
        cure = "take part in a round first: roughfed client"
        raise ConfigError("this client has not trained yet", file=str(path.absolute()), cure=cure)
    with disk_errors(f"read {path}"):
        text = path.read_text(encoding="utf-8")
    try:
        found: dict[str, Any] = json.loads(text)
        settings: dict[str, object] = dict(found["settings"])
        if found["made"]:
            return OwnModel(bytes.fromhex(found["model"]), settings, Turn.of(found["turn"]))
    except (ValueError, KeyError, TypeError):
        cause = "this is not a note of a client's own model"
        raise ConfigError(cause, file=str(path.absolute()), cure="take part in another round") from None
    raise ConfigError(
        f"trainer.method = {settings.get('method')!r} gives clients no models of their own",
        key="trainer.method",
        cure="whoever runs the server adds a part such as fine-tune, or names tensors in model.private",
    )


async def write_own(
    state: Path, credentials: credential_files.Credentials, command: Sequence[str], out: Path
) -> Mapping[str, Any]:
    """Make this client's own model and write it as a model file.

    Args:
        state: the client's state directory.
        credentials: whose key opens the trainer's state.
        command: of a trainer, as of `roughfed.trainer_client.trainer_command`.
        out: the file to write; an existing one is replaced.

    Returns:
        run, round, digest and parameters.

    Raises:
        ConfigError: there is no such model, or the global model that it is made from is gone.
        TrainerError: it could not be made.
    """
    own = read_own(state)
    source = state / "models" / f"{own.model.hex()}.safetensors"
    if not source.exists():
        raise ConfigError("the global model is gone", file=str(source.absolute()), cure="take part in another round")
    turn = replace(
        own.turn, round=own.turn.round + 1, state=state_place(state, credentials)
    )  # with what that round left
    trainer = await Trainer.start(command, log=state / "trainer.log")
    try:
        made = await trainer.own(source, out, model_digest=own.model, settings=own.settings, turn=turn)
    finally:
        await trainer.stop()
    return {"run": own.turn.run, "round": own.turn.round, **made}
