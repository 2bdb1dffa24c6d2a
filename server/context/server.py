"""What lives as long as a server process: made once at the start, handed to every stage of a round, changed by none."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from roughfed.adapters import Base
from roughfed.config.federation import FederationConfig
from roughfed.crypto.identity import IdentityKey
from roughfed.server.context.clients import ClientRegistry
from roughfed.server.context.extension import Extensions
from roughfed.server.context.run_state import RunState
from roughfed.server.context.schedule import ModelSchedule
from roughfed.server.defence.memory import ConfiguredRule
from roughfed.server.defence.vouched import tell_ignored
from roughfed.server.masked.journal import Stages
from roughfed.server.members.member_list import Listing
from roughfed.server.metrics import ServerMetrics
from roughfed.server.metrics.stopwatch import Stopwatch
from roughfed.server.model.best_recalls import Peaks
from roughfed.server.model.trainer_interface import TrainerInterface
from roughfed.server.storage.store import Store
from roughfed.server.trace.recent import Recent
from roughfed.server.trace.recorder import Tracer
from roughfed.server.uploads.intake import Intake
from roughfed.types import Spec


@dataclass
class ServerIdentity:
    """Who the server is; `member` changes when its certificate is renewed.

    Attributes:
        name: in its certificate.
        key: Ed25519, signs headers and receipts.
        member: its CA-signed roster entry.
        ca_certificate: of this federation's CA, PEM.
        external: this federation, where the CA is somebody else's; else "".
    """

    name: str
    key: IdentityKey
    member: bytes = b""
    ca_certificate: bytes = b""
    external: str = ""


@dataclass
class Settings:
    """The settings that are in force. At an edge the learning settings are those of the federation above."""

    config: FederationConfig


@dataclass(frozen=True)
class ServerContext:
    """The parts that make a running server.

    Attributes:
        settings: what is in force; read `config`.
        store: journal and files.
        identity: who the server is.
        metrics: counters and gauges for Prometheus.
        executor: threads for heavy work.
        run: id of the run.
        spec: tensors of the shared model, D parameters in all.
        worker: the trainer process beside the server, if there is one.
        recent: events of the last minutes, for alerts.
        entropy: number of bytes -> secret bytes.
        base: what of the model nobody trains and nobody sends.
        num_classes: of the task; 0 for regression.
        work: seconds of the current round by kind of work.
        trace: where the time of a round goes, for one round at a time.
        clients: who is here, away, revoked, quarantined.
        state: phase, pause, the open round.
        stages: the journal of masked rounds.
        defence: the rule and what it remembers.
        intake: uploads on their way to disk.
        extensions: the extensions of the rounds.
    """

    settings: Settings
    store: Store
    identity: ServerIdentity
    metrics: ServerMetrics
    executor: ThreadPoolExecutor
    run: str
    spec: Spec
    worker: TrainerInterface | None = None
    recent: Recent = field(default_factory=Recent)
    entropy: Callable[[int], bytes] = os.urandom
    base: Base | None = None
    num_classes: int = 0
    work: Stopwatch = field(default_factory=Stopwatch)
    trace: Tracer = field(init=False)
    clients: ClientRegistry = field(init=False)
    state: RunState = field(init=False)
    stages: Stages = field(init=False)
    defence: ConfiguredRule = field(init=False)
    intake: Intake = field(init=False)
    extensions: Extensions = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Make what follows from the settings and the journal."""
        journal, config = self.store.journal, self.config
        trace = Tracer(self.run, self.store.folder, self.executor, keep=config.metrics.traces)
        stages = Stages(journal, entropy=self.entropy)
        clients = ClientRegistry(Listing(journal))
        clients.quarantined = stages.quarantined()

        def on_phase(phase: str) -> None:
            self.metrics.phase(phase)
            trace.phase(phase)

        parts = {
            "trace": trace,
            "clients": clients,
            "state": RunState(on_phase, Peaks(self.store)),
            "stages": stages,
            "defence": ConfiguredRule.of(config, journal, entropy=self.entropy),
            "intake": Intake(self.store, self.identity.key, self.executor, work=self.work),
            "extensions": Extensions(ModelSchedule(config, self.store)),
        }
        for name, part in parts.items():
            object.__setattr__(self, name, part)
        tell_ignored(journal, self.defence.name, self.defence.f)

    @property
    def config(self) -> FederationConfig:
        """The settings that are in force."""
        return self.settings.config
