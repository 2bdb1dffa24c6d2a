"""client.toml: what the owner of a client decides. It beats the job for device and policy."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError

from roughfed.config.participate import Limits, Participate
from roughfed.config.problems import translate
from roughfed.config.schema import keys_of
from roughfed.config.trainer import TrainerSettings
from roughfed.config.values import (
    STRICT,
    Address,
    App,
    DataName,
    Document,
    ModelName,
    Name,
    Peers,
    ServerSees,
    Size,
    TierName,
    Words,
    refuse,
    show,
)
from roughfed.errors import RemoteProtocolError
from roughfed.mode import DEFAULT


def _device(value: str) -> str:
    kind, _, index = value.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (":" in value and (kind != "cuda" or not index.isdecimal())):
        refuse(f"{show(value)} is not a device.", 'Write "auto", "cpu", "cuda", "cuda:0" or "mps".')
    return value


def _runs(value: object) -> object:
    if value is True or value == "true":
        refuse(
            "true would let the server name as many runs as it likes, and each may ask anew.",
            "Write the number of runs that this client takes part in, for example 10; roughfed join --runs 10 does it.",
        )
    return 1 if value is False or value == "false" else value


Runs = Annotated[int, BeforeValidator(_runs), Field(ge=1)]
Device = Annotated[str, AfterValidator(_device), Words('"auto", "cpu", "cuda", "cuda:N" or "mps"', show)]


class ClientSettings(BaseModel):
    """Who this client is, and where its server is."""

    model_config = STRICT

    name: Name = Field(default="", description="Enrolled name of the client; `roughfed join` writes it.")
    server: Address = Field(default="", description="host:port of the federation port.")
    enrol: Address = Field(default="", description="host:port of the enrolment port, for renewals.")
    stay: Runs = Field(
        default=1,
        description="Runs of one federation that this directory takes part in with one model; while there is one left, "
        "the client waits for it when a run is over, instead of ending.",
    )


class OwnApp(BaseModel):
    """The own model and data."""

    model_config = STRICT

    path: App = Field(default="", description="File and name of the client with the own model and data.")


class ClientData(BaseModel):
    """A listed data set of which this client holds a part."""

    model_config = STRICT

    name: DataName = Field(default="", description="Listed data set; empty = the own app's data.")
    data_dir: str = Field(default="", description="Folder of its files; empty = where they are usually found.")
    clients: int = Field(default=1, ge=1, description="Parts that the data set is cut into.")
    index: int = Field(default=0, ge=0, description="Part of this client, from 0.")
    partition: Literal["iid", "dirichlet", "shards", "quantity-skew"] = Field(
        default="dirichlet", description="How it is cut."
    )
    alpha: float = Field(
        default=0.5, gt=0, description="Concentration of dirichlet and quantity-skew; smaller = more skewed."
    )
    test_fraction: float = Field(default=0.2, gt=0, lt=1, description="Share of its part that the client holds out.")
    scenario: Literal["clean", "long-tail", "noisy", "continual", "rough"] = Field(
        default="clean",
        description="What is made rough about the data; the next keys change it or add to it.",
    )
    imbalance: float = Field(
        default=0.0,
        ge=0,
        description="Examples of the most frequent class for one of the rarest, in the whole; 0 = the scenario's.",
    )
    class_order: Literal["auto", "natural", "reversed", "random"] = Field(
        default="auto",
        description="Classes from the most frequent to the rarest; auto = reversed for fashion-mnist, else natural.",
    )
    noise: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of a noisy client's training labels that are wrong (asymmetric: of the classes that are "
        "taken for another); 0 = the scenario's.",
    )
    noise_kind: Literal["symmetric", "asymmetric", "instance"] = Field(
        default="symmetric", description="Any other class, the one it is taken for, or by what the example looks like."
    )
    noisy_clients: float = Field(
        default=0.0, ge=0, le=1, description="Share of the clients that are noisy; 0 = the scenario's, else all."
    )
    tasks: int = Field(default=0, ge=0, description="Tasks in which the classes arrive; 0 = the scenario's.")
    rounds_per_task: int = Field(default=3, ge=1, description="Rounds from the beginning of a task to the next.")
    stagger: int = Field(
        default=0, ge=0, description="Rounds by which the last clients begin a new task after the first ones."
    )
    folder: str = Field(
        default="", description="Folder of .npz files (x, y) to train on instead, as they arrive; empty = the part."
    )
    seed: int = Field(
        default=0, ge=0, lt=1 << 63, description="Seed of the cut; the same on every client of a federation."
    )


class ClientModel(BaseModel):
    """A listed model, with listed data."""

    model_config = STRICT

    name: ModelName = Field(default="", description="Listed model; empty = the own app's model.")
    experts: int = Field(
        default=1, ge=1, le=8, description="Heads on the listed model's one trunk; as in the server's fed.toml."
    )
    seed: int = Field(default=0, ge=0, lt=1 << 63, description="Seed of its weights before the first round.")


class ClientTrainer(TrainerSettings):
    """Learning settings of this client, instead of the job's."""

    local: bool = Field(default=False, description="Let the learning settings written here beat the job's.")


class ClientMemory(BaseModel):
    """Examples that the trainer keeps from round to round, on this machine only."""

    model_config = STRICT

    allow: bool = Field(
        default=True, description="Let methods keep examples of earlier rounds (sealed on disk, never sent)."
    )


class DeviceSettings(BaseModel):
    """What the trainer may use of this machine."""

    model_config = STRICT

    name: Device = Field(default="auto", description="Device of the trainer.")
    threads: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="CPU threads of the trainer; 0 = cores / trainers on this host, counted anew before each training.",
    )


class PolicySettings(BaseModel):
    """What this client agrees to."""

    model_config = STRICT

    server_sees: ServerSees = Field(
        default=DEFAULT,
        description="The most that the server may see of this client: sums < sketches < updates. It takes part in runs "
        "that show less as well, and in none that shows more; `roughfed join --accept MODE` writes it, and alone lets "
        "a directory show more than before.",
    )
    max_model_bytes: Size = Field(default=8 << 30, description="Largest model that the client downloads.")
    max_rounds: int = Field(
        default=0, ge=0, description="Rounds that the client gives an update to before it leaves; 0 = no limit."
    )
    smallest_group: int = Field(
        default=4, ge=4, description="Clients that the client wants to be added up with, itself included, when masked."
    )
    min_known_peers: int = Field(
        default=0,
        ge=0,
        description="Clients of known_peers that the client wants in its group, itself not included, when masked.",
    )
    known_peers: Peers = Field(
        default=(),
        description='Clients that the owner trusts not to side with the server: "sha256:..." (see '
        '`roughfed roster show`), "org:NAME" (all of an organisation), or "NAME"; the last two are worth what the '
        "signers of the member list are.",
    )
    max_passed_over: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="Share of the members before the last one asked, in the order of the draw, that may not be in a "
        "masked round; 1 = any. Who was away is among them, and only the server knows.",
    )
    organisations: str = Field(
        default="",
        description="File with the organisations that sign the member list, and how many must; empty = the CA signs.",
    )
    max_sketch_dim: int = Field(
        default=256, ge=0, description="Numbers of one update that the client shows the server at most, when masked."
    )
    max_sketch_numbers: int = Field(
        default=128 * 100,
        ge=0,
        description="Numbers of its updates that it shows in all rounds of all runs together, as in the limits that "
        "follow: of one federation, with one model, out of this directory (`roughfed disclosed`).",
    )
    max_counts: int = Field(
        default=1,
        ge=0,
        description="Times that its numbers of examples and of classes go into a sum, at most once a run, until it has "
        "twice as many examples.",
    )
    max_statistics: int = Field(
        default=100,
        ge=0,
        description="Rounds in which each statistic that a training works out goes into a sum; one that hardly changes "
        "(transition 3, loss-histogram 10, ...) no more often than that for each run of client.stay.",
    )
    max_model_rounds: int = Field(
        default=8,
        ge=1,
        description="Masked rounds that the client answers on one model, or on models within 0.002 of the clip norm "
        "(or of a tenth of its update's own norm, where that is more). The server pauses by itself after five rounds "
        "that came to nothing.",
    )
    max_differences: int = Field(
        default=6,
        ge=0,
        description="Pairs of sums on one model that the client helps to open although they differ by fewer clients "
        "than a sum has at least, or although it was not told of one of them: after rounds that came to nothing "
        "because somebody lied or was lost; 6 is three of them in a row, each without another client. The client then "
        "trains on examples that it draws anew. With 0 none: rounds then stay void until the same clients are there.",
    )
    max_levels: int = Field(
        default=0,
        ge=0,
        le=1 << 16,
        description="Levels to which the client's update is rounded, when masked: finer ones show more of it in a sum "
        "of few; 0 = as many as lanes of 8 bits hold for its group, 64 for 4 clients and 16 for 16.",
    )
    clusters: bool = Field(
        default=False,
        description='Say which of several models has the least loss here (clusters.method = "ifca"), in the clear.',
    )
    tier: TierName = Field(
        default="",
        description="Tier of the federation's fed.toml ([tiers.NAME]) that the client belongs to; empty = the "
        "standard one.",
    )
    standard_if_few: bool = Field(
        default=False,
        description="Join the standard tier, and send what it sends, in rounds that have too few clients of the own "
        "tier; otherwise the client is not asked then.",
    )
    max_update_bytes: Size = Field(
        default=8 << 30, description="Largest update that the client sends in a round, statistics included."
    )
    max_choice_bits: int = Field(
        default=64,
        ge=0,
        description="Bits that the client tells by that, in all runs together.",
    )
    share_statistics: bool = Field(
        default=True,
        description="Add own counts, and what trainings work out, to the sums; when masked, evaluations, too.",
    )
    share_machine: bool = Field(
        default=True,
        description="Tell the server memory, GPU use and clock of this machine, and how long the last training took; "
        "how many examples it had only where the server sees the updates.",
    )
    label_audit: bool = Field(
        default=False,
        description="Note training labels that seem wrong in label-audit.csv, on this machine only; see "
        "`roughfed labels`.",
    )


class Http(BaseModel):
    """The client's own /metrics and /healthz."""

    model_config = STRICT

    enabled: bool = Field(default=True, description="Serve them.")
    host: str = Field(default="127.0.0.1", min_length=1, description="Address that they bind to.")
    port: int = Field(default=0, ge=0, le=65535, description="Port; 0 = any free port.")


class ClientConfig(Document):
    """All of client.toml."""

    FILE: ClassVar[str] = "client.toml"
    MADE_BY: ClassVar[str] = "roughfed join"
    ABOUT: ClassVar[str] = "Settings of one client, read by its agent"

    client: ClientSettings = ClientSettings()
    app: OwnApp = OwnApp()
    data: ClientData = ClientData()
    model: ClientModel = ClientModel()
    trainer: ClientTrainer = ClientTrainer()
    limits: Limits = Limits()
    participate: Participate = Participate()
    memory: ClientMemory = ClientMemory()
    device: DeviceSettings = DeviceSettings()
    policy: PolicySettings = PolicySettings()
    http: Http = Http()


NOTHING: Mapping[str, object] = MappingProxyType({})


class _Job(BaseModel):
    """The job's learning settings in the shape of a document, so that its keys have the names people know."""

    model_config = STRICT
    trainer: TrainerSettings


def effective_trainer(
    job_settings: Mapping[str, object], client_config: ClientConfig, *, app_settings: Mapping[str, object] = NOTHING
) -> dict[str, object]:
    """The learning settings that a client trains with, before its limits (`Limits.lowered`).

    Args:
        job_settings: `Job.trainer`, from the server; a key that is missing has its default.
        client_config: this client's settings; those it sets itself beat the job's if `trainer.local` is true.
        app_settings: the own app's settings (`Client(..., lr=0.1)`), checked by the trainer; with
            `trainer.local` they
            beat the job's, and client.toml beats them.

    Returns:
        every learning setting by its name in [trainer], without `local`.

    Raises:
        RemoteProtocolError: the job has an unknown key or an impossible value.
    """
    try:
        job = _Job.model_validate({"trainer": dict(job_settings)})
    except ValidationError as error:
        causes = "; ".join(f"{key}: {cause}" for key, cause, _ in translate(error, keys_of(_Job)))
        raise RemoteProtocolError(f"the job's learning settings are refused: {causes}", reason="job") from None
    effective = job.trainer.model_dump()
    mine = client_config.trainer
    if mine.local:
        effective |= app_settings
        effective |= mine.model_dump(include=mine.model_fields_set - {"local"})
    return effective
