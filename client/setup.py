"""What an agent is started with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from roughfed.client.connection.rpc import Connection
from roughfed.client.context import fresh_secret
from roughfed.client.local.availability import Clock, SystemClock
from roughfed.client.local.trainer_process import LocalTrainer
from roughfed.client.members.credential_files import Credentials
from roughfed.config.client import ClientConfig
from roughfed.crypto.member_list import Organisations
from roughfed.messages import Welcome
from roughfed.secagg.client import ClientRound
from roughfed.types import Job


@dataclass(frozen=True, slots=True)
class Setup:
    """What deploy/ hands to the agent.

    Attributes:
        config: client.toml.
        folder: state directory.
        credentials_folder: where the enrolment's files are.
        trainer: who trains.
        secret: header digest -> 32 secret bytes (`ClientContext.round_secret`).
        machine: makes the machine of a masked round (`ClientContext.machine`).
        connection: opens a channel to the server; another one only in hostile clients.
        training_seed: job -> seed of its training; None: `mixed_seed` of the state directory's own secret.
        clock: what the windows of [participate] go by.
        on_welcome: told each welcome that this client agrees to.
        organisations: whose signatures make a list of members; None: the CA's does.
    """

    config: ClientConfig
    folder: Path
    credentials_folder: Path
    trainer: LocalTrainer
    secret: Callable[[bytes], bytes] = fresh_secret
    machine: Callable[..., ClientRound] = ClientRound
    connection: Callable[[str, Credentials], Connection] = Connection
    training_seed: Callable[[Job], int] | None = None
    clock: Clock = field(default_factory=SystemClock)
    on_welcome: Callable[[Welcome], None] = lambda _: None
    organisations: Organisations | None = None
