"""What a run leaves behind for people to read: plain values, written as JSON, drawn by `roughfed.report.html`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from roughfed.errors import ConfigError


@dataclass(frozen=True)
class GroupSummary:
    """A group of a masked round.

    Attributes:
        members: names.
        void: why it gave no sum, in words; empty: it gave one.
    """

    members: list[str]
    void: str = ""


@dataclass(frozen=True)
class Together:
    """What clients found about one version on their held-out data, added up behind masks: nobody's alone is known.

    Attributes:
        accuracy: over all their examples, 0..1.
        balanced_accuracy: mean recall over classes, 0..1.
        class_accuracy: recall by class, 0..1; None for a class without examples.
        histogram: clients by their own accuracy, in buckets of equal width from 0 to 1.
    """

    accuracy: float | None = None
    balanced_accuracy: float | None = None
    class_accuracy: list[float | None] | None = None
    histogram: list[int] = field(default_factory=list[int])


@dataclass(frozen=True)
class RoundSummary:
    """One round. A value that was not measured is None.

    Attributes:
        round: number of the round, from 1 on.
        version: model version after it.
        outcome: "committed", or why it was not, in kebab-case ("void").
        seconds: wall time of the round.
        phase_seconds: wall time by phase, in order.
        participants: names of the clients that were asked.
        accepted: names whose update is in the sum.
        excluded: (name, reason) of updates that arrived and were left out.
        dropped: names that sent no update in time.
        upload_bytes: bytes from all clients together, payload and framing.
        download_bytes: bytes to all clients together.
        accuracy: of the new model, 0..1.
        balanced_accuracy: mean recall over classes, 0..1.
        loss: mean loss.
        class_accuracy: recall by class, 0..1; None for a class without examples.
        client_accuracy: accuracy on each client's own held-out data, 0..1, by name; empty when masked.
        together: the same as sums; None where nothing is masked, or nobody measured.
        groups: who was added up with whom; empty where nothing is masked.
        clip_norm: norm that updates were cut to; None where nothing is masked.
        train_seconds: mean time of the clients' local training.
        train_metrics: means of what their training reports, by name, for example the training loss.
    """

    round: int
    version: int
    outcome: str = "committed"
    seconds: float = 0.0
    phase_seconds: dict[str, float] = field(default_factory=dict[str, float])
    participants: list[str] = field(default_factory=list[str])
    accepted: list[str] = field(default_factory=list[str])
    excluded: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    dropped: list[str] = field(default_factory=list[str])
    upload_bytes: int = 0
    download_bytes: int = 0
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    loss: float | None = None
    class_accuracy: list[float | None] | None = None
    client_accuracy: dict[str, float] = field(default_factory=dict[str, float])
    together: Together | None = None
    groups: list[GroupSummary] = field(default_factory=list[GroupSummary])
    clip_norm: float | None = None
    train_seconds: float | None = None
    train_metrics: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Proof:
    """A client that is proved to have broken the protocol: by what it signed itself."""

    client: str
    round: int
    reason: str


@dataclass(frozen=True)
class RunSummary:
    """One run.

    Attributes:
        run: its id.
        scenario: kebab-case name.
        server_sees: "updates", "sketches" or "sums".
        clients: number of clients.
        parameters: D.
        float32_bytes: 4 D.
        rounds: in order.
        holdings: examples by client and class, [K][C]; None when the division is not known.
        client_names: K names, in the order of `holdings`.
        class_names: C names; empty: the classes are numbered.
        class_prior: training examples by class of all clients that gave their counts, each once; from sums.
        proofs: who is out, and why; by round.
        suspended: clients that were silent too often, with what was noted.
        sketch_dim: numbers that the server saw of each update; 0: none.
        config: the effective settings, nested.
        model_digest: BLAKE3 of the final parameters, hexadecimal.
        started_at: ISO 8601.
        seconds_total: wall time, start-up included.
        machine: the machine in words.
    """

    run: str
    scenario: str
    server_sees: str
    clients: int
    parameters: int
    float32_bytes: int
    rounds: list[RoundSummary] = field(default_factory=list[RoundSummary])
    holdings: list[list[int]] | None = None
    client_names: list[str] = field(default_factory=list[str])
    class_names: list[str] = field(default_factory=list[str])
    class_prior: list[int] = field(default_factory=list[int])
    proofs: list[Proof] = field(default_factory=list[Proof])
    suspended: dict[str, str] = field(default_factory=dict[str, str])
    sketch_dim: int = 0
    config: dict[str, object] = field(default_factory=dict[str, object])
    model_digest: str = ""
    started_at: str = ""
    seconds_total: float | None = None
    machine: str = ""

    def to_json(self) -> str:
        """JSON text; a number that is not finite (a diverged loss) becomes null."""
        return TypeAdapter(RunSummary).dump_json(self, indent=1).decode()

    @staticmethod
    def from_json(text: str | bytes) -> RunSummary:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: not JSON, or a field is missing or of the wrong type; says which.
        """
        try:
            return TypeAdapter(RunSummary).validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(first["msg"], key=where, cure="is this the summary of a run?") from error


def per_client_round(total_bytes: Iterable[int], rounds: list[RoundSummary]) -> float | None:
    """Mean bytes for one client in one round: totals by round over the clients that were asked; None for no client."""
    client_rounds = sum(len(r.participants) for r in rounds)
    return sum(total_bytes) / client_rounds if client_rounds else None


def last_known(values: Iterable[float | None]) -> float | None:
    """The last value that was measured and is finite; None when none was."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    return known[-1] if known else None
