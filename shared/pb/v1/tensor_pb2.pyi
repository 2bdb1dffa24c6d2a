from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TensorSpec(_message.Message):
    __slots__ = ("name", "shape", "dtype", "kind")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[TensorSpec.Kind]
        KIND_PARAMETER: _ClassVar[TensorSpec.Kind]
        KIND_BUFFER: _ClassVar[TensorSpec.Kind]
        KIND_VARIANCE: _ClassVar[TensorSpec.Kind]
    KIND_UNSPECIFIED: TensorSpec.Kind
    KIND_PARAMETER: TensorSpec.Kind
    KIND_BUFFER: TensorSpec.Kind
    KIND_VARIANCE: TensorSpec.Kind
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    dtype: str
    kind: TensorSpec.Kind
    def __init__(self, name: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., dtype: _Optional[str] = ..., kind: _Optional[_Union[TensorSpec.Kind, str]] = ...) -> None: ...

class Spec(_message.Message):
    __slots__ = ("tensors",)
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    tensors: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    def __init__(self, tensors: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("offset", "data", "update")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    update: SignedUpdate
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ..., update: _Optional[_Union[SignedUpdate, _Mapping]] = ...) -> None: ...

class SignedUpdate(_message.Message):
    __slots__ = ("statement", "signature")
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    statement: bytes
    signature: bytes
    def __init__(self, statement: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class UpdateStatement(_message.Message):
    __slots__ = ("run", "round", "client", "header_digest", "digest", "size_bytes", "num_examples", "metrics", "evaluation", "num_steps", "train_seconds", "weight_quarters", "statistics", "personal", "alone", "tier", "view_digest")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class Statistic(_message.Message):
        __slots__ = ("name", "values")
        NAME_FIELD_NUMBER: _ClassVar[int]
        VALUES_FIELD_NUMBER: _ClassVar[int]
        name: str
        values: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, name: _Optional[str] = ..., values: _Optional[_Iterable[int]] = ...) -> None: ...
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    HEADER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    NUM_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    NUM_STEPS_FIELD_NUMBER: _ClassVar[int]
    TRAIN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_QUARTERS_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    PERSONAL_FIELD_NUMBER: _ClassVar[int]
    ALONE_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    VIEW_DIGEST_FIELD_NUMBER: _ClassVar[int]
    run: str
    round: int
    client: str
    header_digest: bytes
    digest: bytes
    size_bytes: int
    num_examples: int
    metrics: _containers.ScalarMap[str, float]
    evaluation: Evaluation
    num_steps: int
    train_seconds: float
    weight_quarters: int
    statistics: _containers.RepeatedCompositeFieldContainer[UpdateStatement.Statistic]
    personal: Evaluation
    alone: Evaluation
    tier: str
    view_digest: bytes
    def __init__(self, run: _Optional[str] = ..., round: _Optional[int] = ..., client: _Optional[str] = ..., header_digest: _Optional[bytes] = ..., digest: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., num_examples: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., evaluation: _Optional[_Union[Evaluation, _Mapping]] = ..., num_steps: _Optional[int] = ..., train_seconds: _Optional[float] = ..., weight_quarters: _Optional[int] = ..., statistics: _Optional[_Iterable[_Union[UpdateStatement.Statistic, _Mapping]]] = ..., personal: _Optional[_Union[Evaluation, _Mapping]] = ..., alone: _Optional[_Union[Evaluation, _Mapping]] = ..., tier: _Optional[str] = ..., view_digest: _Optional[bytes] = ...) -> None: ...

class Evaluation(_message.Message):
    __slots__ = ("model_digest", "num_examples", "loss_sum", "class_count", "class_correct", "absolute_error_sum", "confusion", "calibration")
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    NUM_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    LOSS_SUM_FIELD_NUMBER: _ClassVar[int]
    CLASS_COUNT_FIELD_NUMBER: _ClassVar[int]
    CLASS_CORRECT_FIELD_NUMBER: _ClassVar[int]
    ABSOLUTE_ERROR_SUM_FIELD_NUMBER: _ClassVar[int]
    CONFUSION_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    model_digest: bytes
    num_examples: int
    loss_sum: float
    class_count: _containers.RepeatedScalarFieldContainer[int]
    class_correct: _containers.RepeatedScalarFieldContainer[int]
    absolute_error_sum: float
    confusion: _containers.RepeatedScalarFieldContainer[int]
    calibration: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model_digest: _Optional[bytes] = ..., num_examples: _Optional[int] = ..., loss_sum: _Optional[float] = ..., class_count: _Optional[_Iterable[int]] = ..., class_correct: _Optional[_Iterable[int]] = ..., absolute_error_sum: _Optional[float] = ..., confusion: _Optional[_Iterable[int]] = ..., calibration: _Optional[_Iterable[int]] = ...) -> None: ...
