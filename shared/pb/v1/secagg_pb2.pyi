from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Advertise(_message.Message):
    __slots__ = ("header_digest", "mask_public_key", "sealing_public_key", "self_mask_commitment", "weight_quarters", "tier", "statics", "evaluates", "trains")
    HEADER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MASK_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    SEALING_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    SELF_MASK_COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_QUARTERS_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    STATICS_FIELD_NUMBER: _ClassVar[int]
    EVALUATES_FIELD_NUMBER: _ClassVar[int]
    TRAINS_FIELD_NUMBER: _ClassVar[int]
    header_digest: bytes
    mask_public_key: bytes
    sealing_public_key: bytes
    self_mask_commitment: bytes
    weight_quarters: int
    tier: int
    statics: bool
    evaluates: bool
    trains: bool
    def __init__(self, header_digest: _Optional[bytes] = ..., mask_public_key: _Optional[bytes] = ..., sealing_public_key: _Optional[bytes] = ..., self_mask_commitment: _Optional[bytes] = ..., weight_quarters: _Optional[int] = ..., tier: _Optional[int] = ..., statics: bool = ..., evaluates: bool = ..., trains: bool = ...) -> None: ...

class Signed(_message.Message):
    __slots__ = ("body", "signature", "signer")
    BODY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SIGNER_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    signature: bytes
    signer: str
    def __init__(self, body: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., signer: _Optional[str] = ...) -> None: ...

class RosterEntry(_message.Message):
    __slots__ = ("name", "role", "identity_key", "federation", "enrolled_at")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_KEY_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    ENROLLED_AT_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: str
    identity_key: bytes
    federation: str
    enrolled_at: int
    def __init__(self, name: _Optional[str] = ..., role: _Optional[str] = ..., identity_key: _Optional[bytes] = ..., federation: _Optional[str] = ..., enrolled_at: _Optional[int] = ...) -> None: ...

class SignedRosterEntry(_message.Message):
    __slots__ = ("entry", "signature", "chain")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    entry: bytes
    signature: bytes
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, entry: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., chain: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Roster(_message.Message):
    __slots__ = ("header_digest", "group", "adverts", "members", "nonce", "cohort")
    class Leaf(_message.Message):
        __slots__ = ("name", "advert_digest")
        NAME_FIELD_NUMBER: _ClassVar[int]
        ADVERT_DIGEST_FIELD_NUMBER: _ClassVar[int]
        name: str
        advert_digest: bytes
        def __init__(self, name: _Optional[str] = ..., advert_digest: _Optional[bytes] = ...) -> None: ...
    HEADER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    ADVERTS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    COHORT_FIELD_NUMBER: _ClassVar[int]
    header_digest: bytes
    group: int
    adverts: _containers.RepeatedCompositeFieldContainer[Signed]
    members: _containers.RepeatedCompositeFieldContainer[SignedRosterEntry]
    nonce: bytes
    cohort: _containers.RepeatedCompositeFieldContainer[Roster.Leaf]
    def __init__(self, header_digest: _Optional[bytes] = ..., group: _Optional[int] = ..., adverts: _Optional[_Iterable[_Union[Signed, _Mapping]]] = ..., members: _Optional[_Iterable[_Union[SignedRosterEntry, _Mapping]]] = ..., nonce: _Optional[bytes] = ..., cohort: _Optional[_Iterable[_Union[Roster.Leaf, _Mapping]]] = ...) -> None: ...

class Shares(_message.Message):
    __slots__ = ("header_digest", "sealed", "roster_digest")
    class Sealed(_message.Message):
        __slots__ = ("holder", "ciphertext", "self_hash", "mask_hash", "pair_tag", "out_tag", "in_tag")
        HOLDER_FIELD_NUMBER: _ClassVar[int]
        CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
        SELF_HASH_FIELD_NUMBER: _ClassVar[int]
        MASK_HASH_FIELD_NUMBER: _ClassVar[int]
        PAIR_TAG_FIELD_NUMBER: _ClassVar[int]
        OUT_TAG_FIELD_NUMBER: _ClassVar[int]
        IN_TAG_FIELD_NUMBER: _ClassVar[int]
        holder: str
        ciphertext: bytes
        self_hash: bytes
        mask_hash: bytes
        pair_tag: bytes
        out_tag: bytes
        in_tag: bytes
        def __init__(self, holder: _Optional[str] = ..., ciphertext: _Optional[bytes] = ..., self_hash: _Optional[bytes] = ..., mask_hash: _Optional[bytes] = ..., pair_tag: _Optional[bytes] = ..., out_tag: _Optional[bytes] = ..., in_tag: _Optional[bytes] = ...) -> None: ...
    HEADER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    ROSTER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    header_digest: bytes
    sealed: _containers.RepeatedCompositeFieldContainer[Shares.Sealed]
    roster_digest: bytes
    def __init__(self, header_digest: _Optional[bytes] = ..., sealed: _Optional[_Iterable[_Union[Shares.Sealed, _Mapping]]] = ..., roster_digest: _Optional[bytes] = ...) -> None: ...

class Deals(_message.Message):
    __slots__ = ("shares",)
    SHARES_FIELD_NUMBER: _ClassVar[int]
    shares: _containers.RepeatedCompositeFieldContainer[Signed]
    def __init__(self, shares: _Optional[_Iterable[_Union[Signed, _Mapping]]] = ...) -> None: ...

class Seed(_message.Message):
    __slots__ = ("header_digest", "root", "path", "index", "count", "dim", "group", "statements")
    HEADER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    header_digest: bytes
    root: bytes
    path: _containers.RepeatedScalarFieldContainer[bytes]
    index: int
    count: int
    dim: int
    group: int
    statements: _containers.RepeatedCompositeFieldContainer[Signed]
    def __init__(self, header_digest: _Optional[bytes] = ..., root: _Optional[bytes] = ..., path: _Optional[_Iterable[bytes]] = ..., index: _Optional[int] = ..., count: _Optional[int] = ..., dim: _Optional[int] = ..., group: _Optional[int] = ..., statements: _Optional[_Iterable[_Union[Signed, _Mapping]]] = ...) -> None: ...

class Sketch(_message.Message):
    __slots__ = ("seed_root", "codes", "pairs")
    class Pair(_message.Message):
        __slots__ = ("member", "lanes")
        MEMBER_FIELD_NUMBER: _ClassVar[int]
        LANES_FIELD_NUMBER: _ClassVar[int]
        member: str
        lanes: bytes
        def __init__(self, member: _Optional[str] = ..., lanes: _Optional[bytes] = ...) -> None: ...
    SEED_ROOT_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    seed_root: bytes
    codes: bytes
    pairs: _containers.RepeatedCompositeFieldContainer[Sketch.Pair]
    def __init__(self, seed_root: _Optional[bytes] = ..., codes: _Optional[bytes] = ..., pairs: _Optional[_Iterable[_Union[Sketch.Pair, _Mapping]]] = ...) -> None: ...

class Conflict(_message.Message):
    __slots__ = ("member", "sketch")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    SKETCH_FIELD_NUMBER: _ClassVar[int]
    member: str
    sketch: Signed
    def __init__(self, member: _Optional[str] = ..., sketch: _Optional[_Union[Signed, _Mapping]] = ...) -> None: ...

class Opening(_message.Message):
    __slots__ = ("header_digest", "kind", "against", "key")
    HEADER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    AGAINST_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    header_digest: bytes
    kind: str
    against: str
    key: bytes
    def __init__(self, header_digest: _Optional[bytes] = ..., kind: _Optional[str] = ..., against: _Optional[str] = ..., key: _Optional[bytes] = ...) -> None: ...

class Sets(_message.Message):
    __slots__ = ("header_digest", "group", "accepted", "excluded", "seed_root", "statements")
    class Excluded(_message.Message):
        __slots__ = ("name", "reason", "detail")
        NAME_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        DETAIL_FIELD_NUMBER: _ClassVar[int]
        name: str
        reason: str
        detail: str
        def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...
    HEADER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_FIELD_NUMBER: _ClassVar[int]
    SEED_ROOT_FIELD_NUMBER: _ClassVar[int]
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    header_digest: bytes
    group: int
    accepted: _containers.RepeatedScalarFieldContainer[str]
    excluded: _containers.RepeatedCompositeFieldContainer[Sets.Excluded]
    seed_root: bytes
    statements: _containers.RepeatedCompositeFieldContainer[Signed]
    def __init__(self, header_digest: _Optional[bytes] = ..., group: _Optional[int] = ..., accepted: _Optional[_Iterable[str]] = ..., excluded: _Optional[_Iterable[_Union[Sets.Excluded, _Mapping]]] = ..., seed_root: _Optional[bytes] = ..., statements: _Optional[_Iterable[_Union[Signed, _Mapping]]] = ...) -> None: ...

class Consistency(_message.Message):
    __slots__ = ("sets_digest",)
    SETS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    sets_digest: bytes
    def __init__(self, sets_digest: _Optional[bytes] = ...) -> None: ...

class UnmaskRequest(_message.Message):
    __slots__ = ("consistency",)
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    consistency: _containers.RepeatedCompositeFieldContainer[Signed]
    def __init__(self, consistency: _Optional[_Iterable[_Union[Signed, _Mapping]]] = ...) -> None: ...

class Unmask(_message.Message):
    __slots__ = ("sets_digest", "self_mask", "mask_secret")
    class Share(_message.Message):
        __slots__ = ("dealer", "value")
        DEALER_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        dealer: str
        value: bytes
        def __init__(self, dealer: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    SETS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SELF_MASK_FIELD_NUMBER: _ClassVar[int]
    MASK_SECRET_FIELD_NUMBER: _ClassVar[int]
    sets_digest: bytes
    self_mask: _containers.RepeatedCompositeFieldContainer[Unmask.Share]
    mask_secret: _containers.RepeatedCompositeFieldContainer[Unmask.Share]
    def __init__(self, sets_digest: _Optional[bytes] = ..., self_mask: _Optional[_Iterable[_Union[Unmask.Share, _Mapping]]] = ..., mask_secret: _Optional[_Iterable[_Union[Unmask.Share, _Mapping]]] = ...) -> None: ...
