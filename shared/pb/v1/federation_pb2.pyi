from roughfed.pb.v1 import secagg_pb2 as _secagg_pb2
from roughfed.pb.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetAuthorityRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Authority(_message.Message):
    __slots__ = ("ca_certificate", "federation")
    CA_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    ca_certificate: bytes
    federation: str
    def __init__(self, ca_certificate: _Optional[bytes] = ..., federation: _Optional[str] = ...) -> None: ...

class EnrollRequest(_message.Message):
    __slots__ = ("token", "csr", "identity_key", "proof")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_KEY_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    token: bytes
    csr: bytes
    identity_key: bytes
    proof: bytes
    def __init__(self, token: _Optional[bytes] = ..., csr: _Optional[bytes] = ..., identity_key: _Optional[bytes] = ..., proof: _Optional[bytes] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("csr", "member", "requested_at", "proof")
    CSR_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_AT_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    csr: bytes
    member: _secagg_pb2.SignedRosterEntry
    requested_at: int
    proof: bytes
    def __init__(self, csr: _Optional[bytes] = ..., member: _Optional[_Union[_secagg_pb2.SignedRosterEntry, _Mapping]] = ..., requested_at: _Optional[int] = ..., proof: _Optional[bytes] = ...) -> None: ...

class Credentials(_message.Message):
    __slots__ = ("certificate", "member", "federation_address", "ca_certificate")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CA_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    member: _secagg_pb2.SignedRosterEntry
    federation_address: str
    ca_certificate: bytes
    def __init__(self, certificate: _Optional[bytes] = ..., member: _Optional[_Union[_secagg_pb2.SignedRosterEntry, _Mapping]] = ..., federation_address: _Optional[str] = ..., ca_certificate: _Optional[bytes] = ...) -> None: ...

class ClientMessage(_message.Message):
    __slots__ = ("hello", "heartbeat", "job", "evaluation", "leave", "choice", "advertise", "shares", "sketch", "consistency", "unmask", "opening")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    LEAVE_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    ADVERTISE_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    SKETCH_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    UNMASK_FIELD_NUMBER: _ClassVar[int]
    OPENING_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    heartbeat: Heartbeat
    job: JobUpdate
    evaluation: EvaluationReport
    leave: Leave
    choice: Choice
    advertise: _secagg_pb2.Signed
    shares: _secagg_pb2.Signed
    sketch: _secagg_pb2.Signed
    consistency: _secagg_pb2.Signed
    unmask: _secagg_pb2.Signed
    opening: _secagg_pb2.Signed
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., job: _Optional[_Union[JobUpdate, _Mapping]] = ..., evaluation: _Optional[_Union[EvaluationReport, _Mapping]] = ..., leave: _Optional[_Union[Leave, _Mapping]] = ..., choice: _Optional[_Union[Choice, _Mapping]] = ..., advertise: _Optional[_Union[_secagg_pb2.Signed, _Mapping]] = ..., shares: _Optional[_Union[_secagg_pb2.Signed, _Mapping]] = ..., sketch: _Optional[_Union[_secagg_pb2.Signed, _Mapping]] = ..., consistency: _Optional[_Union[_secagg_pb2.Signed, _Mapping]] = ..., unmask: _Optional[_Union[_secagg_pb2.Signed, _Mapping]] = ..., opening: _Optional[_Union[_secagg_pb2.Signed, _Mapping]] = ...) -> None: ...

class ServerMessage(_message.Message):
    __slots__ = ("welcome", "job", "closed", "abort", "reconnect", "finished", "heartbeat", "choose", "roster", "seed", "sets", "unmask", "conflict", "deals")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    ABORT_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    CHOOSE_FIELD_NUMBER: _ClassVar[int]
    ROSTER_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SETS_FIELD_NUMBER: _ClassVar[int]
    UNMASK_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_FIELD_NUMBER: _ClassVar[int]
    DEALS_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    job: Job
    closed: RoundClosed
    abort: Abort
    reconnect: Reconnect
    finished: Finished
    heartbeat: Heartbeat
    choose: Choose
    roster: _secagg_pb2.Roster
    seed: _secagg_pb2.Signed
    sets: _secagg_pb2.Signed
    unmask: _secagg_pb2.UnmaskRequest
    conflict: _secagg_pb2.Conflict
    deals: _secagg_pb2.Deals
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., job: _Optional[_Union[Job, _Mapping]] = ..., closed: _Optional[_Union[RoundClosed, _Mapping]] = ..., abort: _Optional[_Union[Abort, _Mapping]] = ..., reconnect: _Optional[_Union[Reconnect, _Mapping]] = ..., finished: _Optional[_Union[Finished, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., choose: _Optional[_Union[Choose, _Mapping]] = ..., roster: _Optional[_Union[_secagg_pb2.Roster, _Mapping]] = ..., seed: _Optional[_Union[_secagg_pb2.Signed, _Mapping]] = ..., sets: _Optional[_Union[_secagg_pb2.Signed, _Mapping]] = ..., unmask: _Optional[_Union[_secagg_pb2.UnmaskRequest, _Mapping]] = ..., conflict: _Optional[_Union[_secagg_pb2.Conflict, _Mapping]] = ..., deals: _Optional[_Union[_secagg_pb2.Deals, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("software", "protocol", "member", "spec_digest", "codecs", "device", "tier", "standard_if_few", "seen")
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    SPEC_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CODECS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    STANDARD_IF_FEW_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    software: str
    protocol: int
    member: _secagg_pb2.SignedRosterEntry
    spec_digest: bytes
    codecs: _containers.RepeatedScalarFieldContainer[str]
    device: str
    tier: str
    standard_if_few: bool
    seen: SeenHeader
    def __init__(self, software: _Optional[str] = ..., protocol: _Optional[int] = ..., member: _Optional[_Union[_secagg_pb2.SignedRosterEntry, _Mapping]] = ..., spec_digest: _Optional[bytes] = ..., codecs: _Optional[_Iterable[str]] = ..., device: _Optional[str] = ..., tier: _Optional[str] = ..., standard_if_few: bool = ..., seen: _Optional[_Union[SeenHeader, _Mapping]] = ...) -> None: ...

class SeenHeader(_message.Message):
    __slots__ = ("header", "server")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    header: _secagg_pb2.Signed
    server: _secagg_pb2.SignedRosterEntry
    def __init__(self, header: _Optional[_Union[_secagg_pb2.Signed, _Mapping]] = ..., server: _Optional[_Union[_secagg_pb2.SignedRosterEntry, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("phase", "progress", "machine")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    phase: str
    progress: float
    machine: Machine
    def __init__(self, phase: _Optional[str] = ..., progress: _Optional[float] = ..., machine: _Optional[_Union[Machine, _Mapping]] = ...) -> None: ...

class Machine(_message.Message):
    __slots__ = ("rss_bytes", "gpu_memory_bytes", "gpu_utilization", "train_seconds", "samples", "time")
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    GPU_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    GPU_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    TRAIN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    rss_bytes: int
    gpu_memory_bytes: int
    gpu_utilization: float
    train_seconds: float
    samples: int
    time: float
    def __init__(self, rss_bytes: _Optional[int] = ..., gpu_memory_bytes: _Optional[int] = ..., gpu_utilization: _Optional[float] = ..., train_seconds: _Optional[float] = ..., samples: _Optional[int] = ..., time: _Optional[float] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("software", "protocol", "run", "spec", "server", "server_sees", "task", "rounds", "private", "tiers", "base", "time", "paced", "clusters")
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    SERVER_SEES_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    PACED_FIELD_NUMBER: _ClassVar[int]
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    software: str
    protocol: int
    run: str
    spec: _tensor_pb2.Spec
    server: _secagg_pb2.SignedRosterEntry
    server_sees: str
    task: str
    rounds: int
    private: _containers.RepeatedScalarFieldContainer[str]
    tiers: _containers.RepeatedCompositeFieldContainer[ClientTier]
    base: FrozenBase
    time: float
    paced: bool
    clusters: int
    def __init__(self, software: _Optional[str] = ..., protocol: _Optional[int] = ..., run: _Optional[str] = ..., spec: _Optional[_Union[_tensor_pb2.Spec, _Mapping]] = ..., server: _Optional[_Union[_secagg_pb2.SignedRosterEntry, _Mapping]] = ..., server_sees: _Optional[str] = ..., task: _Optional[str] = ..., rounds: _Optional[int] = ..., private: _Optional[_Iterable[str]] = ..., tiers: _Optional[_Iterable[_Union[ClientTier, _Mapping]]] = ..., base: _Optional[_Union[FrozenBase, _Mapping]] = ..., time: _Optional[float] = ..., paced: bool = ..., clusters: _Optional[int] = ...) -> None: ...

class FrozenBase(_message.Message):
    __slots__ = ("spec", "digest", "adapter_scale")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_SCALE_FIELD_NUMBER: _ClassVar[int]
    spec: _tensor_pb2.Spec
    digest: bytes
    adapter_scale: float
    def __init__(self, spec: _Optional[_Union[_tensor_pb2.Spec, _Mapping]] = ..., digest: _Optional[bytes] = ..., adapter_scale: _Optional[float] = ...) -> None: ...

class ClientTier(_message.Message):
    __slots__ = ("name", "keep_one_in", "tensors", "codec", "codec_levels", "codec_lane_bits", "clip_norm", "sketch_dim", "epoch_round", "epoch_beacon")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEEP_ONE_IN_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    CODEC_LEVELS_FIELD_NUMBER: _ClassVar[int]
    CODEC_LANE_BITS_FIELD_NUMBER: _ClassVar[int]
    CLIP_NORM_FIELD_NUMBER: _ClassVar[int]
    SKETCH_DIM_FIELD_NUMBER: _ClassVar[int]
    EPOCH_ROUND_FIELD_NUMBER: _ClassVar[int]
    EPOCH_BEACON_FIELD_NUMBER: _ClassVar[int]
    name: str
    keep_one_in: int
    tensors: _containers.RepeatedScalarFieldContainer[str]
    codec: str
    codec_levels: int
    codec_lane_bits: int
    clip_norm: float
    sketch_dim: int
    epoch_round: int
    epoch_beacon: bytes
    def __init__(self, name: _Optional[str] = ..., keep_one_in: _Optional[int] = ..., tensors: _Optional[_Iterable[str]] = ..., codec: _Optional[str] = ..., codec_levels: _Optional[int] = ..., codec_lane_bits: _Optional[int] = ..., clip_norm: _Optional[float] = ..., sketch_dim: _Optional[int] = ..., epoch_round: _Optional[int] = ..., epoch_beacon: _Optional[bytes] = ...) -> None: ...

class RoundHeader(_message.Message):
    __slots__ = ("run", "round", "model_digest", "model_version", "spec_digest", "previous_header_digest", "codec", "codec_levels", "codec_lane_bits", "clip_norm", "server_sees", "roster_root", "nonce_commitment", "sketch_dim", "deadline_s", "codec_keep_one_in", "epoch_round", "epoch_beacon", "statistics", "job_digest", "tiers", "heads", "members_number", "members_digest", "draw_round", "draw_beacon")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SPEC_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_HEADER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    CODEC_LEVELS_FIELD_NUMBER: _ClassVar[int]
    CODEC_LANE_BITS_FIELD_NUMBER: _ClassVar[int]
    CLIP_NORM_FIELD_NUMBER: _ClassVar[int]
    SERVER_SEES_FIELD_NUMBER: _ClassVar[int]
    ROSTER_ROOT_FIELD_NUMBER: _ClassVar[int]
    NONCE_COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    SKETCH_DIM_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    CODEC_KEEP_ONE_IN_FIELD_NUMBER: _ClassVar[int]
    EPOCH_ROUND_FIELD_NUMBER: _ClassVar[int]
    EPOCH_BEACON_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    JOB_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_NUMBER_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DRAW_ROUND_FIELD_NUMBER: _ClassVar[int]
    DRAW_BEACON_FIELD_NUMBER: _ClassVar[int]
    run: str
    round: int
    model_digest: bytes
    model_version: int
    spec_digest: bytes
    previous_header_digest: bytes
    codec: str
    codec_levels: int
    codec_lane_bits: int
    clip_norm: float
    server_sees: str
    roster_root: bytes
    nonce_commitment: bytes
    sketch_dim: int
    deadline_s: float
    codec_keep_one_in: int
    epoch_round: int
    epoch_beacon: bytes
    statistics: _containers.RepeatedScalarFieldContainer[str]
    job_digest: bytes
    tiers: _containers.RepeatedCompositeFieldContainer[ClientTier]
    heads: _containers.RepeatedScalarFieldContainer[bytes]
    members_number: int
    members_digest: bytes
    draw_round: int
    draw_beacon: bytes
    def __init__(self, run: _Optional[str] = ..., round: _Optional[int] = ..., model_digest: _Optional[bytes] = ..., model_version: _Optional[int] = ..., spec_digest: _Optional[bytes] = ..., previous_header_digest: _Optional[bytes] = ..., codec: _Optional[str] = ..., codec_levels: _Optional[int] = ..., codec_lane_bits: _Optional[int] = ..., clip_norm: _Optional[float] = ..., server_sees: _Optional[str] = ..., roster_root: _Optional[bytes] = ..., nonce_commitment: _Optional[bytes] = ..., sketch_dim: _Optional[int] = ..., deadline_s: _Optional[float] = ..., codec_keep_one_in: _Optional[int] = ..., epoch_round: _Optional[int] = ..., epoch_beacon: _Optional[bytes] = ..., statistics: _Optional[_Iterable[str]] = ..., job_digest: _Optional[bytes] = ..., tiers: _Optional[_Iterable[_Union[ClientTier, _Mapping]]] = ..., heads: _Optional[_Iterable[bytes]] = ..., members_number: _Optional[int] = ..., members_digest: _Optional[bytes] = ..., draw_round: _Optional[int] = ..., draw_beacon: _Optional[bytes] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("header", "trainer", "seed", "evaluate", "group", "train", "model_bytes", "seconds_left", "base_digest", "facts")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    MODEL_BYTES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_LEFT_FIELD_NUMBER: _ClassVar[int]
    BASE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    header: _secagg_pb2.Signed
    trainer: str
    seed: int
    evaluate: bool
    group: int
    train: bool
    model_bytes: int
    seconds_left: float
    base_digest: bytes
    facts: str
    def __init__(self, header: _Optional[_Union[_secagg_pb2.Signed, _Mapping]] = ..., trainer: _Optional[str] = ..., seed: _Optional[int] = ..., evaluate: bool = ..., group: _Optional[int] = ..., train: bool = ..., model_bytes: _Optional[int] = ..., seconds_left: _Optional[float] = ..., base_digest: _Optional[bytes] = ..., facts: _Optional[str] = ...) -> None: ...

class JobUpdate(_message.Message):
    __slots__ = ("round", "state", "reason", "detail")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    round: int
    state: str
    reason: str
    detail: str
    def __init__(self, round: _Optional[int] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class EvaluationReport(_message.Message):
    __slots__ = ("round", "evaluation", "personal", "alone")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    PERSONAL_FIELD_NUMBER: _ClassVar[int]
    ALONE_FIELD_NUMBER: _ClassVar[int]
    round: int
    evaluation: _tensor_pb2.Evaluation
    personal: _tensor_pb2.Evaluation
    alone: _tensor_pb2.Evaluation
    def __init__(self, round: _Optional[int] = ..., evaluation: _Optional[_Union[_tensor_pb2.Evaluation, _Mapping]] = ..., personal: _Optional[_Union[_tensor_pb2.Evaluation, _Mapping]] = ..., alone: _Optional[_Union[_tensor_pb2.Evaluation, _Mapping]] = ...) -> None: ...

class Leave(_message.Message):
    __slots__ = ("reason", "back_after_s")
    REASON_FIELD_NUMBER: _ClassVar[int]
    BACK_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    reason: str
    back_after_s: float
    def __init__(self, reason: _Optional[str] = ..., back_after_s: _Optional[float] = ...) -> None: ...

class Choose(_message.Message):
    __slots__ = ("question", "seconds_left")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    SECONDS_LEFT_FIELD_NUMBER: _ClassVar[int]
    question: _secagg_pb2.Signed
    seconds_left: float
    def __init__(self, question: _Optional[_Union[_secagg_pb2.Signed, _Mapping]] = ..., seconds_left: _Optional[float] = ...) -> None: ...

class Question(_message.Message):
    __slots__ = ("run", "number", "spec_digest", "models", "header")
    RUN_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SPEC_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    run: str
    number: int
    spec_digest: bytes
    models: _containers.RepeatedScalarFieldContainer[bytes]
    header: _secagg_pb2.Signed
    def __init__(self, run: _Optional[str] = ..., number: _Optional[int] = ..., spec_digest: _Optional[bytes] = ..., models: _Optional[_Iterable[bytes]] = ..., header: _Optional[_Union[_secagg_pb2.Signed, _Mapping]] = ...) -> None: ...

class Choice(_message.Message):
    __slots__ = ("number", "place", "reason")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    number: int
    place: int
    reason: str
    def __init__(self, number: _Optional[int] = ..., place: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class RoundClosed(_message.Message):
    __slots__ = ("round", "outcome", "model_version", "model_digest", "verdict", "reason", "detail")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    round: int
    outcome: str
    model_version: int
    model_digest: bytes
    verdict: str
    reason: str
    detail: str
    def __init__(self, round: _Optional[int] = ..., outcome: _Optional[str] = ..., model_version: _Optional[int] = ..., model_digest: _Optional[bytes] = ..., verdict: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class Abort(_message.Message):
    __slots__ = ("round", "reason")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    round: int
    reason: str
    def __init__(self, round: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Reconnect(_message.Message):
    __slots__ = ("after_s", "reason")
    AFTER_S_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    after_s: float
    reason: str
    def __init__(self, after_s: _Optional[float] = ..., reason: _Optional[str] = ...) -> None: ...

class Finished(_message.Message):
    __slots__ = ("reason", "model_version", "model_digest")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    reason: str
    model_version: int
    model_digest: bytes
    def __init__(self, reason: _Optional[str] = ..., model_version: _Optional[int] = ..., model_digest: _Optional[bytes] = ...) -> None: ...

class GetMembersRequest(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    def __init__(self, digest: _Optional[bytes] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("member", "requested_at", "proof")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_AT_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    member: _secagg_pb2.SignedRosterEntry
    requested_at: int
    proof: bytes
    def __init__(self, member: _Optional[_Union[_secagg_pb2.SignedRosterEntry, _Mapping]] = ..., requested_at: _Optional[int] = ..., proof: _Optional[bytes] = ...) -> None: ...

class MemberList(_message.Message):
    __slots__ = ("federation", "number", "previous_digest", "issued_at", "expires_at", "members")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    federation: str
    number: int
    previous_digest: bytes
    issued_at: int
    expires_at: int
    members: _containers.RepeatedCompositeFieldContainer[ListedMember]
    def __init__(self, federation: _Optional[str] = ..., number: _Optional[int] = ..., previous_digest: _Optional[bytes] = ..., issued_at: _Optional[int] = ..., expires_at: _Optional[int] = ..., members: _Optional[_Iterable[_Union[ListedMember, _Mapping]]] = ...) -> None: ...

class ListedMember(_message.Message):
    __slots__ = ("name", "identity_key", "expires_at", "organisation", "server")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_KEY_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    ORGANISATION_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    name: str
    identity_key: bytes
    expires_at: int
    organisation: str
    server: bool
    def __init__(self, name: _Optional[str] = ..., identity_key: _Optional[bytes] = ..., expires_at: _Optional[int] = ..., organisation: _Optional[str] = ..., server: bool = ...) -> None: ...

class SignedMemberList(_message.Message):
    __slots__ = ("list", "signatures")
    LIST_FIELD_NUMBER: _ClassVar[int]
    SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    list: bytes
    signatures: _containers.RepeatedCompositeFieldContainer[ListSignature]
    def __init__(self, list: _Optional[bytes] = ..., signatures: _Optional[_Iterable[_Union[ListSignature, _Mapping]]] = ...) -> None: ...

class ListSignature(_message.Message):
    __slots__ = ("key", "signature")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    signature: bytes
    def __init__(self, key: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("digest", "from_offset", "base_digest", "waits")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FROM_OFFSET_FIELD_NUMBER: _ClassVar[int]
    BASE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    WAITS_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    from_offset: int
    base_digest: bytes
    waits: bool
    def __init__(self, digest: _Optional[bytes] = ..., from_offset: _Optional[int] = ..., base_digest: _Optional[bytes] = ..., waits: bool = ...) -> None: ...

class UpdateStatusRequest(_message.Message):
    __slots__ = ("run", "round", "digest")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    run: str
    round: int
    digest: bytes
    def __init__(self, run: _Optional[str] = ..., round: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class UpdateStatusReply(_message.Message):
    __slots__ = ("committed_offset", "receipt")
    COMMITTED_OFFSET_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    committed_offset: int
    receipt: Receipt
    def __init__(self, committed_offset: _Optional[int] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("run", "round", "client", "digest", "size_bytes", "signature")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    run: str
    round: int
    client: str
    digest: bytes
    size_bytes: int
    signature: bytes
    def __init__(self, run: _Optional[str] = ..., round: _Optional[int] = ..., client: _Optional[str] = ..., digest: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., signature: _Optional[bytes] = ...) -> None: ...
