"""fed.toml: what the operator of the server decides."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Field

from roughfed.config.aggregation import Aggregate, Optimize
from roughfed.config.clusters import Clusters
from roughfed.config.contribution import Contribution
from roughfed.config.defences import AUTO, Attackers, DefenceRule
from roughfed.config.fairness import Fairness
from roughfed.config.reward import Reward
from roughfed.config.server import Server
from roughfed.config.tiers import TierSettings
from roughfed.config.trainer import TrainerSettings
from roughfed.config.values import (
    STRICT,
    App,
    Cohort,
    DataName,
    Document,
    Duration,
    ModelName,
    Name,
    Patterns,
    Quorum,
    ServerSees,
    refuse,
    show,
)
from roughfed.secagg.groups import SMALLEST

# Fractions times clients are floats: 0.1 * 30 is a little more than 3 and must not ask for a fourth client.
_ROUNDING = 1e-9


def _task(value: object) -> object:
    if value not in ("classification", "regression"):
        refuse(f"{show(value)} is not a task of roughfed.", 'Write "classification" or "regression".')
    return value


def _lane_bits(value: object) -> object:
    if isinstance(value, bool):  # equal to 0 and 1, and no number of bits
        refuse(f"{show(value)} is no number of bits.", "Write 0 or 8 or 16 or 32.")
    return value


Task = Annotated[Literal["classification", "regression"], BeforeValidator(_task)]
LaneBits = Annotated[Literal[0, 8, 16, 32], BeforeValidator(_lane_bits)]


class Federation(BaseModel):
    """Who this federation is."""

    model_config = STRICT

    name: Name = Field(
        default="roughfed", min_length=1, description="Name of the federation, in certificates and reports."
    )
    seed: int = Field(default=0, ge=0, lt=1 << 63, description="Seed of everything that is random and no secret.")
    task: Task = Field(default="classification", description="What the model predicts.")


class RoundSettings(BaseModel):
    """Who takes part in a round, and when it ends."""

    model_config = STRICT

    rounds: int = Field(default=10, ge=1, description="Rounds of the run.")
    cohort: Cohort = Field(
        default=0, description="Clients of one round: a number, or a fraction of those connected; 0 = all."
    )
    over_select: float = Field(
        default=1.0, ge=1, le=2, description="Clients invited for each one wanted, against dropouts."
    )
    quorum: Quorum = Field(
        default=0.8,
        description="Updates that a round needs: a fraction of the wanted clients (1.0 = all), or their number.",
    )
    min_clients: int = Field(
        default=2,
        ge=1,
        description="Connected clients that the server waits for before a round; where updates are masked at least so "
        "many that a round has 4.",
    )
    deadline: Duration = Field(default=600.0, gt=0, description="Time that a round may take.")
    patience: float = Field(
        default=1.25,
        ge=0,
        description="Once the quorum is there, the rest is waited for this many times as long as that took (clients "
        "known to be slower for longer, up to three times; not below 5 seconds); 0 = until the deadline.",
    )
    time_budget: Duration = Field(
        default=0.0,
        description="Stop the run this long after the start of the server (a restart begins anew); empty = no limit.",
    )
    early_stop_rounds: int = Field(
        default=0,
        ge=0,
        description="Stop when balanced accuracy (regression: loss) has not improved for so many rounds; 0 = never.",
    )
    evaluate_every: int = Field(default=1, ge=0, description="Evaluate the model every so many rounds; 0 = never.")

    def goal(self, connected: int) -> int:
        """Clients wanted in a round out of the connected ones; at least 1."""
        if not self.cohort:
            return connected
        if isinstance(self.cohort, float):
            return max(1, math.ceil(self.cohort * connected - _ROUNDING))
        return min(self.cohort, connected)

    def invited(self, connected: int) -> int:
        """Clients asked to take part, so that `goal` of them are likely to answer."""
        return min(connected, math.ceil(self.goal(connected) * self.over_select - _ROUNDING))

    def needed(self, goal: int) -> int:
        """Updates without which a round that wanted `goal` of them is abandoned.

        A whole number is meant as it stands: it is not lowered to a smaller goal.
        """
        if isinstance(self.quorum, float):
            return max(1, math.ceil(self.quorum * goal - _ROUNDING))
        return self.quorum


class Model(BaseModel):
    """What is trained: an own model (`app`) or a listed one (`name`)."""

    model_config = STRICT

    app: App = Field(default="", description="File and name of the client that holds the own model.")
    name: ModelName = Field(default="", description="Listed model; its shapes follow the data.")
    experts: int = Field(default=1, ge=1, le=8, description="Heads on the listed model's one trunk.")
    init: str = Field(
        default="",
        description="safetensors file with starting weights; empty = fresh weights from the seed. One of `roughfed "
        "export --initial` needs neither app nor name beside it, and the server no torch.",
    )
    private: Patterns = Field(
        default=(),
        description="Patterns of names of tensors that each client keeps to itself (docs/trainers.md), for example "
        '["*bn*"]; `*`, `?` and `[...]` as in file names.',
    )
    frozen: Patterns = Field(
        default=(),
        description="Patterns of names of tensors that nobody trains and nobody sends (docs/heterogeneity.md), for "
        'example ["body.*"]; the same for everybody, from model.init or the seed.',
    )
    adapters: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Rank of low-rank adapters (LoRA): they are trained and sent instead of the layers, which are "
        "frozen; 0 = none.",
    )
    adapt: Patterns = Field(
        default=(),
        description="Patterns of names of weights that get an adapter, of linear layers and convolutions; none = of "
        "every linear layer.",
    )
    adapter_alpha: float = Field(
        default=0.0, ge=0, le=1e6, description="Adapters count alpha / rank times; 0 = alpha is the rank."
    )
    train_a: bool = Field(
        default=True,
        description="Train both factors of an adapter; false = A stays as it was drawn (FFA-LoRA), and the mean of "
        "the updates is the mean of the adapted weights.",
    )
    train: Patterns = Field(
        default=(),
        description='Patterns of names of tensors that are trained whole beside the adapters, for example ["head.*"].',
    )
    keep_last: int = Field(default=3, ge=1, description="Newest versions of the model that are kept on disk.")
    keep_best: bool = Field(default=True, description="Keep the best version as well, however old.")

    @property
    def file_alone(self) -> bool:
        """Whether the server knows the model by its file only (`roughfed export --initial`), and needs no torch."""
        return bool(self.init) and not self.app and not self.name


class Data(BaseModel):
    """The server's own evaluation data, and the shapes of a listed model."""

    model_config = STRICT

    name: DataName = Field(default="", description="Listed data set; needed with model.name.")
    data_dir: str = Field(default="", description="Folder of its files; empty = where they are usually found.")


class Privacy(BaseModel):
    """What the server learns about one client."""

    model_config = STRICT

    server_sees: ServerSees = Field(
        default="sketches",
        description="What reaches the server of a single client: its whole update, a sketch of a few numbers beside "
        "the group's sum, or nothing but the sum.",
    )

    @property
    def masked(self) -> bool:
        """Whether the server learns sums only."""
        return self.server_sees != "updates"


class SketchSettings(BaseModel):
    """The numbers by which the server tells a poisoned update, with `server_sees = "sketches"`."""

    model_config = STRICT

    dim: int = Field(
        default=128, ge=64, le=4096, multiple_of=2, description="Numbers that the server sees of each update."
    )


class Groups(BaseModel):
    """Who is added up with whom, with `server_sees = "sketches"` or `"sums"`."""

    model_config = STRICT

    regroup_every: int = Field(default=10, ge=1, le=10, description="Rounds for which the groups stay as they are.")


class CodecSettings(BaseModel):
    """How updates are encoded on the way up, and models on the way down."""

    model_config = STRICT

    name: Literal["auto", "identity", "fp16", "int8", "top-k", "lanes"] = Field(
        default="auto",
        description="Encoding of updates; auto = lanes (rotated, clipped, rounded) when masked, otherwise identity.",
    )
    fraction: float = Field(
        default=1.0, description="lanes: part of the coordinates that is sent: 1, 0.5, 0.25, 0.125 or 0.0625."
    )
    lane_bits: LaneBits = Field(default=0, description="lanes: bits of a code; 0 = as few as the groups allow.")
    clip_norm: float = Field(
        default=10.0,
        gt=0,
        description="lanes: the clip norm of the first round; it follows the norms. Updates are cut to it, or to half "
        "of it where the server sees sketches of whole updates.",
    )
    clip_floor: float = Field(default=1e-3, gt=0, description="lanes: the clip norm never falls below this.")
    clip_ceiling: float = Field(default=1e3, gt=0, description="lanes: the clip norm never rises above this.")
    downlink: Literal["auto", "identity", "int8"] = Field(
        default="auto",
        description="Encoding of a model for a client that has the one before; auto = int8 when masked, else identity.",
    )

    def uplink(self, server_sees: str) -> str:
        """The codec's name in a round header."""
        return self.name if self.name != "auto" else "identity" if server_sees == "updates" else "lanes"

    def downlink_of(self, server_sees: str) -> str:
        """How the next model is sent."""
        return self.downlink if self.downlink != "auto" else "identity" if server_sees == "updates" else "int8"


class Defence(BaseModel):
    """Who is kept out of the sum although its update is well formed."""

    model_config = STRICT

    rule: DefenceRule = Field(
        default="auto",
        description="Rule that tells poisoned updates, or combines updates so that they do no harm (docs/defences.md); "
        'auto = "default" where the server sees single clients, "none" with `server_sees = "sums"`.',
    )
    f: Attackers = Field(
        default=0.2,
        description="Clients of a round that may be hostile: a share below 0.5, rounded down, or their number. With "
        '`server_sees = "sums"` each of them may spoil another group.',
    )

    root: int = Field(
        default=0,
        ge=0,
        description="Examples of the server's own data, the same number of each class, of which it makes an update in "
        "every round for rules that hold others against it; they are not evaluated on. 0 = none.",
    )

    rollback: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Take a new version back whose balanced accuracy on the server's own data lies so far below that "
        "of the best one before it, 0.1 being 10 points, and chance does not explain it; the next round begins with "
        "the version before. Without classes: whose loss is higher by this share. 0 = versions stand.",
    )

    def rule_of(self, server_sees: str) -> str:
        """The rule of a round: a row of `roughfed.server.defence`, or what a package brings."""
        return AUTO[server_sees] if self.rule == "auto" else self.rule


class Metrics(BaseModel):
    """What /metrics says."""

    model_config = STRICT

    per_client: Literal["top", "all", "off"] = Field(
        default="top", description="Series for single clients: the 20 that matter most, all (200 at most), or none."
    )
    traces: int = Field(
        default=50, ge=0, le=10_000, description="Traces of rounds that are kept in state/traces; 0 = none."
    )


class Identity(BaseModel):
    """How long credentials live."""

    model_config = STRICT

    certificate_days: int = Field(
        default=7, ge=1, le=825, description="Life of a certificate; renewed at two thirds of it."
    )
    token_hours: int = Field(default=24, ge=1, le=8760, description="Time within which an invitation must be used.")


class FederationConfig(Document):
    """All of fed.toml."""

    FILE: ClassVar[str] = "fed.toml"
    MADE_BY: ClassVar[str] = "roughfed init"
    ABOUT: ClassVar[str] = "Settings of the federation, read by the server"

    federation: Federation = Federation()
    server: Server = Server()
    round: RoundSettings = RoundSettings()
    model: Model = Model()
    data: Data = Data()
    trainer: TrainerSettings = TrainerSettings()
    aggregate: Aggregate = Aggregate()
    optimize: Optimize = Optimize()
    fairness: Fairness = Fairness()
    privacy: Privacy = Privacy()
    sketch: SketchSettings = SketchSettings()
    groups: Groups = Groups()
    codec: CodecSettings = CodecSettings()
    defence: Defence = Defence()
    clusters: Clusters = Clusters()
    contribution: Contribution = Contribution()
    reward: Reward = Reward()
    metrics: Metrics = Metrics()
    identity: Identity = Identity()
    tiers: dict[str, TierSettings] = Field(default_factory=dict[str, TierSettings])

    @property
    def clients_to_start(self) -> int:
        """Connected clients that the server waits for before it opens a round.

        `round.min_clients`; when masked also enough of them for a round that wants 4, since no smaller sum is unmasked.
        """
        return max(self.round.min_clients, self.clients_to_hide) if self.privacy.masked else self.round.min_clients

    @property
    def clients_to_hide(self) -> int:
        """Connected clients without which no masked round wants 4 of them; of a cluster as many of its members."""
        r = self.round
        share = r.cohort if isinstance(r.cohort, float) else 1.0  # a number below 4 is refused by check_federation
        needed = math.floor((SMALLEST - 1) / share)
        while math.ceil(share * needed - _ROUNDING) < SMALLEST:
            needed += 1
        return needed

    @property
    def members_to_play(self) -> int:
        """Connected members without which a cluster's round is not opened (`clusters.method`)."""
        if self.privacy.masked:
            return self.clients_to_hide
        return min(self.round.min_clients, self.clusters.least(masked=False))

    def waiting(self, connected: int) -> str:
        """What a server says that waits for clients, with the way out when it waits for the sake of the masks."""
        needed = self.clients_to_start
        aside = "; for fewer set privacy.server_sees to updates" if needed > self.round.min_clients else ""
        return f"waiting: {connected} of {needed} clients{aside}"
