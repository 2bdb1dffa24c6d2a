"""The values that walk through the rooms. Plain data: no gRPC, no protobuf, no torch.

D is the number of parameters in the flat vector, C the number of classes.

`delta` is local parameters minus global parameters, everywhere in roughfed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

Kind = Literal["parameter", "buffer", "variance"]
Task = Literal["classification", "regression"]

MAX_TIERS = 8
"""Classes of clients beside the standard one."""

TIER_NAME = re.compile(r"[a-z0-9-]{1,63}")

FLOAT_DTYPES = ("float32", "float16", "bfloat16", "float64")

MOST_CONFUSED = 64
"""More classes than this have no confusion matrix: it would be larger than some models."""

BINS = 15
"""Of confidence, equally wide, in a calibration (Guo et al., "On Calibration of Modern Neural Networks", 2017)."""

CONFIDENCE_ONE = 1024
"""A confidence of 1 in the sums of a calibration, which are integers so that they add up in any order."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of the model, in the order of the flat vector.

    Attributes:
        name: its name in the state dict.
        shape: its shape; `()` is a scalar.
        dtype: its type in the model; in the flat vector it is always float32.
        kind: a learned `parameter`; a float `buffer` (averaged like a parameter); a `variance`, a buffer that must
            stay positive (BatchNorm's running variance).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    kind: Kind = "parameter"

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Spec:
    """What the flat float32 [D] vector means. Integer buffers are not part of it: they stay where they are."""

    tensors: tuple[TensorSpec, ...]

    @cached_property
    def size(self) -> int:
        """D."""
        return sum(t.size for t in self.tensors)

    @property
    def size_bytes(self) -> int:
        """Bytes of the flat vector, 4 D."""
        return 4 * self.size

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the canonical JSON form, 32 bytes."""
        rows = [[t.name, list(t.shape), t.dtype, t.kind] for t in self.tensors]
        return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).digest()

    def slices(self) -> dict[str, slice]:
        """Where each tensor lies in the flat vector, in order."""
        out: dict[str, slice] = {}
        at = 0
        for t in self.tensors:
            out[t.name] = slice(at, at + t.size)
            at += t.size
        return out


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Sums over held-out data, so that evaluations of several clients add up.

    Attributes:
        model_digest: BLAKE3 of the evaluated parameters.
        num_examples: number of examples.
        loss_sum: sum of the loss over them.
        class_count: classification: examples per true class, C integers; empty for regression.
        class_correct: classification: correctly classified examples per true class, C integers.
        absolute_error_sum: regression: sum of absolute errors, in the target's unit.
        confusion: classification, C <= `MOST_CONFUSED`: examples by true class (row) and predicted class, C * C
            integers row by row; else empty. Its row sums are `class_count`, its diagonal is `class_correct`.
        calibration: classification: [3 x BINS] integers row by row: examples, correct ones, and the sum of their
            confidence in units of 1 / `CONFIDENCE_ONE`; bin b holds confidences in (b / BINS, (b + 1) / BINS]. Empty
            for regression, and where it was not measured. The measures of both are in `roughfed.measures`.
    """

    model_digest: bytes
    num_examples: int
    loss_sum: float
    class_count: tuple[int, ...] = ()
    class_correct: tuple[int, ...] = ()
    absolute_error_sum: float = 0.0
    confusion: tuple[int, ...] = ()
    calibration: tuple[int, ...] = ()

    @property
    def accuracy(self) -> float | None:
        """Share of correct examples; None for regression or without examples."""
        return sum(self.class_correct) / n if (n := sum(self.class_count)) else None

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean recall over the classes that have examples; None for regression or without examples."""
        recalls = [k / n for k, n in zip(self.class_correct, self.class_count, strict=True) if n]
        return sum(recalls) / len(recalls) if recalls else None

    @property
    def loss(self) -> float | None:
        """Mean loss; None without examples."""
        return self.loss_sum / self.num_examples if self.num_examples else None


@dataclass(frozen=True, slots=True)
class Evaluations:
    """What one client found on its held-out data in one round. `model_digest` of each is the base model's.

    Attributes:
        base: of the base model, with this client's private tensors where it has some; None: nothing was evaluated.
        personal: of the model that this client would use; None: the federation makes none.
        alone: of the model that it trained without the others; None: `trainer.compare_alone` does not ask for one.
    """

    base: Evaluation | None = None
    personal: Evaluation | None = None
    alone: Evaluation | None = None
    tier: str = ""


@dataclass(frozen=True, slots=True)
class ClientTier:
    """What the clients of one tier train and send (proto/v1/federation.proto, ClientTier; `roughfed.tiers`).

    From `codec` on, as the fields of a header by these names; in a welcome they are not said.
    """

    name: str
    keep_one_in: int = 1
    tensors: tuple[str, ...] = ()
    codec: str = ""
    levels: int = 0
    lane_bits: int = 0
    clip_norm: float = 0.0
    sketch_dim: int = 0
    epoch_round: int = 0
    epoch_beacon: bytes = b""


@dataclass(frozen=True, slots=True)
class RoundHeader:
    """What everything in a round is bound to; signed by the server (proto/v1/federation.proto, RoundHeader).

    From `levels` on, all of it belongs to masked rounds, but for `tiers`: those that take part beside the standard
    one, and `heads`: the newest model of every cluster, where clients choose among them. `tier` says as whose
    it is read (`roughfed.tiers.header_for`); it is not on the wire.
    """

    run: str
    round: int
    model_digest: bytes
    model_version: int
    spec_digest: bytes
    previous_header_digest: bytes
    codec: str
    server_sees: str
    roster_root: bytes
    deadline_s: float
    job_digest: bytes = b""
    levels: int = 0
    lane_bits: int = 0
    keep_one_in: int = 0
    clip_norm: float = 0.0
    nonce_commitment: bytes = b""
    sketch_dim: int = 0
    epoch_round: int = 0
    epoch_beacon: bytes = b""
    statistics: tuple[str, ...] = ()
    tiers: tuple[ClientTier, ...] = ()
    heads: tuple[bytes, ...] = ()
    members_number: int = 0
    members_digest: bytes = b""
    draw_round: int = 0
    draw_beacon: bytes = b""
    tier: str = ""

    @property
    def masked(self) -> bool:
        """Whether the server learns sums only."""
        return self.server_sees != "updates"


@dataclass(frozen=True, slots=True)
class Signed:
    """Serialized bytes beside their Ed25519 signature; hashed and verified as sent."""

    body: bytes
    signature: bytes
    signer: str

    @property
    def digest(self) -> bytes:
        """SHA-256 of the body, 32 bytes."""
        return hashlib.sha256(self.body).digest()


@dataclass(frozen=True, slots=True)
class Job:
    """Work for one client in one round.

    Attributes:
        header: the round header, signed by the server.
        trainer: learning settings (see `roughfed.config`), a JSON-able mapping.
        seed: seed of the client's local randomness in this round.
        evaluate: evaluate the base model on held-out data before training.
        train: False for an evaluation without training.
        model_bytes: size of the flat parameters.
        seconds_left: until the deadline.
        base_digest: BLAKE3 of the parameters from which the server has a delta to those of the header; empty without.
        facts: what the server worked out of sums over the clients, by name; bound by the header's `job_digest`.
    """

    header: Signed
    trainer: Mapping[str, object]
    seed: int
    evaluate: bool
    train: bool
    model_bytes: int
    seconds_left: float
    base_digest: bytes = b""
    facts: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])


@dataclass(frozen=True, slots=True)
class UpdateStatement:
    """What a client signs about its update (proto/v1/tensor.proto, UpdateStatement).

    `quarters` and `statistics` are its weight class and what the header asks for; when masked they travel otherwise.
    `personal` and `alone` are evaluations of the client's own model and of the one that it trained without the others.
    `tier` is the tier as which the client takes part in the round. `view_digest`, when masked: the roster and
    the deals that it masked under.
    """

    run: str
    round: int
    client: str
    header_digest: bytes
    digest: bytes
    size_bytes: int
    num_examples: int
    num_steps: int = 0
    train_seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    evaluation: Evaluation | None = None
    quarters: int = 4
    statistics: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    personal: Evaluation | None = None
    alone: Evaluation | None = None
    tier: str = ""
    view_digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The server's word that an update is on its disk and counts at most once."""

    run: str
    round: int
    client: str
    digest: bytes
    size_bytes: int
    signature: bytes
