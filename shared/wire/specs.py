"""Specs and the frozen base that a run stands on: values to generated messages and back (proto/v1/tensor.proto)."""

from __future__ import annotations

import math

from roughfed.adapters import Base
from roughfed.errors import RemoteProtocolError
from roughfed.pb.v1 import federation_pb2 as fed
from roughfed.pb.v1 import tensor_pb2 as ten
from roughfed.types import FLOAT_DTYPES, Kind, Spec, TensorSpec
from roughfed.wire.updates import MAX_NAME, digest_field, parse

MAX_TENSORS = 100_000
MAX_DIMENSIONS = 32  # as numpy; their product would otherwise be a number of millions of bits

_KINDS: dict[Kind, ten.TensorSpec.Kind] = {
    "parameter": ten.TensorSpec.KIND_PARAMETER,
    "buffer": ten.TensorSpec.KIND_BUFFER,
    "variance": ten.TensorSpec.KIND_VARIANCE,
}
_KIND_NAMES: dict[int, Kind] = {number: name for name, number in _KINDS.items()}


def spec_message(spec: Spec) -> ten.Spec:
    """Spec to its generated message."""
    rows = [ten.TensorSpec(name=t.name, shape=t.shape, dtype=t.dtype, kind=_KINDS[t.kind]) for t in spec.tensors]
    return ten.Spec(tensors=rows)


def spec_value(message: ten.Spec) -> Spec:
    """Generated message to a Spec.

    Raises:
        RemoteProtocolError: no tensors, too many, a name twice, an unknown type or kind.
    """
    names = {t.name for t in message.tensors}
    if not 0 < len(message.tensors) <= MAX_TENSORS or len(names) != len(message.tensors):
        raise RemoteProtocolError(f"a Spec of {len(message.tensors)} tensors, {len(names)} names", reason="schema")
    rows: list[TensorSpec] = []
    for t in message.tensors:
        if t.dtype not in FLOAT_DTYPES or t.kind not in _KIND_NAMES or len(t.shape) > MAX_DIMENSIONS:
            what = f"type {t.dtype[:MAX_NAME]!r}, kind {t.kind}, {len(t.shape)} dimensions"
            raise RemoteProtocolError(f"tensor {t.name[:MAX_NAME]}: {what}", reason="schema")
        rows.append(TensorSpec(t.name, tuple(t.shape), t.dtype, _KIND_NAMES[t.kind]))
    return Spec(tuple(rows))


def base_message(base: Base) -> fed.FrozenBase:
    """The frozen base to its generated message."""
    return fed.FrozenBase(spec=spec_message(base.spec), digest=base.digest, adapter_scale=base.scale)


def base_value(message: fed.FrozenBase) -> Base:
    """Generated message to a frozen base.

    Raises:
        RemoteProtocolError: a Spec or a digest that is none, or a scale that no adapter can have.
    """
    scale = message.adapter_scale
    if not (math.isfinite(scale) and 0 < scale <= 1e6):
        raise RemoteProtocolError("a scale of adapters that cannot be", reason="schema")
    return Base(spec_value(message.spec), digest_field(message.digest, "base digest"), scale)


def encode_base(base: Base) -> bytes:
    """The frozen base to bytes (for the journal)."""
    return base_message(base).SerializeToString(deterministic=True)


def decode_base(data: bytes) -> Base:
    """Bytes to a frozen base."""
    return base_value(parse(fed.FrozenBase, data))
