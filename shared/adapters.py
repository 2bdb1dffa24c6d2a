"""What of a model nobody trains and nobody sends: its frozen base; and the low-rank adapters that are trained on it.

LoRA (Hu et al., ICLR 2022, https://arxiv.org/abs/2106.09685, section 4.1): the weight W of a layer stays as it is, and
the layer works with W + (alpha / r) B A. B is zero at the start, so training begins with the very model of the base.
A convolution's weight counts as a matrix of one row for each output channel.

The federation agrees on the adapters (and on what stays trainable whole); that is all that is masked, sent and summed.
The base is a model file of its own: the same for everybody, downloaded once, known by its digest.

Differs: where a side of W is shorter than r, the rank is that side (alpha / r stays): no adapter says more than W.

o outputs, i inputs of a layer (for a convolution, of one output's window), r the rank.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from roughfed.errors import ConfigError
from roughfed.params import Flat
from roughfed.rng import generator
from roughfed.shared_tensors import some
from roughfed.types import Spec, TensorSpec

WEIGHT, LORA_A, LORA_B = "weight", "lora_a", "lora_b"
"""Last words of the names of a layer's weight and of its adapter's factors, A [r, i] and B [o, r]."""


@dataclass(frozen=True, slots=True)
class Base:
    """The frozen base that a run is trained on.

    Attributes:
        spec: its tensors, in order.
        digest: BLAKE3 of its flat vector, 32 bytes.
        scale: alpha / r of the adapters on it; 1 without adapters.
    """

    spec: Spec
    digest: bytes
    scale: float = 1.0

    @property
    def commitment(self) -> bytes:
        """SHA-256 over all of it, 32 bytes: what a round's header says of the base."""
        return hashlib.sha256(b"roughfed base v1\0" + self.spec.digest + self.digest + _packed(self.scale)).digest()


def _packed(number: float) -> bytes:
    return struct.pack("<d", number)


def rank_of(weight: TensorSpec, rank: int) -> int:
    """The rank that an adapter of a weight [o, ...] gets where `rank` is asked for."""
    return min(rank, weight.shape[0], math.prod(weight.shape[1:]))


def factor_names(weight: str) -> tuple[str, str]:
    """Names of A and B beside the name of a weight."""
    stem = weight.removesuffix(WEIGHT)
    return stem + LORA_A, stem + LORA_B


def chosen(
    whole: Spec, adaptable: Collection[str], rank: int, patterns: Sequence[str], trained: Sequence[str] = ()
) -> dict[str, int]:
    """Which weights get an adapter, and of which rank.

    Args:
        whole: of the model, without adapters.
        adaptable: names of the weights of linear layers and convolutions.
        rank: r.
        patterns: of names of weights; none: every linear layer.
        trained: patterns of what is trained whole; it needs no adapter.

    Returns:
        rank by name of the weight, in the model's order.

    Raises:
        ConfigError: a pattern matches no such weight, or nothing is left.
    """
    able = [t for t in whole.tensors if t.name in adaptable]
    for pattern in patterns:
        if not any(fnmatchcase(t.name, pattern) for t in able):
            raise ConfigError(
                f"{pattern!r} matches no weight of a linear layer or a convolution",
                key="model.adapt",
                cure=f"their names: {some([t.name for t in able])}",
            )
    wanted = [t for t in able if _matches(t.name, patterns) or (not patterns and len(t.shape) == 2)]
    found = {t.name: rank_of(t, rank) for t in wanted if not _matches(t.name, trained)}
    if not found:
        raise ConfigError(
            "no layer of this model gets an adapter",
            key="model.adapters",
            cure="name layers in model.adapt, or write 0",
        )
    return found


def adapted_spec(whole: Spec, ranks: Mapping[str, int]) -> Spec:
    """The Spec of a model with adapters: behind the tensors of each adapted layer lie its weight, A and B.

    Raises:
        ConfigError: the model has tensors of these names already.
    """
    rows = list(whole.tensors)
    for name, rank in ranks.items():
        stem = name.removesuffix(WEIGHT)
        weight = next(t for t in rows if t.name == name)
        last = max(at for at, t in enumerate(rows) if t.name.startswith(stem))
        rows[last + 1 : last + 1] = [weight, *factors(weight, rank)]
        rows.remove(weight)
    if len({t.name for t in rows}) < len(rows):
        raise ConfigError(f"a tensor of the model is called {LORA_A} or {LORA_B}", key="model", cure="rename it")
    return Spec(tuple(rows))


def factors(weight: TensorSpec, rank: int) -> tuple[TensorSpec, TensorSpec]:
    """A [r, i] and B [o, r] of a weight [o, ...]."""
    name_a, name_b = factor_names(weight.name)
    inputs = math.prod(weight.shape[1:])
    return TensorSpec(name_a, (rank, inputs), weight.dtype), TensorSpec(name_b, (weight.shape[0], rank), weight.dtype)


def ranks_in(tensors: Iterable[TensorSpec]) -> dict[str, int]:
    """The adapters that Specs speak of: rank by name of the adapted weight."""
    found: dict[str, int] = {}
    for tensor in tensors:
        stem, _, word = tensor.name.rpartition(".")
        if word in (LORA_A, LORA_B) and len(tensor.shape) == 2:
            found[f"{stem}.{WEIGHT}" if stem else WEIGHT] = tensor.shape[0 if word == LORA_A else 1]
    return found


def split(whole: Spec, is_frozen: Callable[[TensorSpec], bool]) -> tuple[Spec, Spec]:
    """(what is not frozen, what is), each in the order of `whole`."""
    rest = tuple(t for t in whole.tensors if not is_frozen(t))
    return Spec(rest), Spec(tuple(t for t in whole.tensors if is_frozen(t)))


def divided_like(whole: Spec, adaptable: Collection[str], shared: Spec, base: Spec | None) -> tuple[Spec, Spec | None]:
    """A client's own model, divided as the server's is: (all that is not frozen, what is).

    Args:
        whole: of the client's model.
        adaptable: names of its weights that can have an adapter.
        shared: what travels, as the server says.
        base: the server's frozen base; None without one.

    Raises:
        ConfigError: an adapter on a layer that this model has not.
    """
    if base is None:
        return whole, None
    ranks = ranks_in([*shared.tensors, *base.tensors])
    if strangers := sorted(ranks.keys() - set(adaptable)):
        raise ConfigError(
            f"the federation has an adapter on {strangers[0]}, and this client's model no such linear layer or "
            "convolution",
            key="app",
            cure="use the federation's model, or ask for its code",
        )
    names = {t.name for t in base.tensors}
    return split(adapted_spec(whole, ranks), lambda t: t.name in names)


def first_a(tensor: TensorSpec, seed: int) -> Flat:
    """A before the first round: uniform in +-1 / sqrt(i), as in the authors' code; float32 [r, i]."""
    bound = 1 / math.sqrt(tensor.shape[1])
    return generator(seed, LORA_A, tensor.name).uniform(-bound, bound, size=tensor.shape).astype(np.float32)


def merged(base: Mapping[str, Flat], adapters: Mapping[str, Flat], scale: float) -> dict[str, Flat]:
    """A whole model of a base and what was trained on it: W + scale B A, float32.

    Args:
        base: frozen tensors by name; an adapter whose A is frozen has it here.
        adapters: trained tensors by name.
        scale: alpha / r.

    Returns:
        tensors by name, without adapters.
    """
    both = {**base, **adapters}
    names = [name for name in both if name.rpartition(".")[2] not in (LORA_A, LORA_B)]
    out: dict[str, Flat] = {}
    for name in names:
        name_a, name_b = factor_names(name)
        if name.rpartition(".")[2] != WEIGHT or name_b not in both:
            out[name] = both[name]
            continue
        low = np.float32(scale) * (both[name_b] @ both[name_a])  # [o, i]
        out[name] = (both[name] + low.reshape(both[name].shape)).astype(np.float32)
    return out


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
