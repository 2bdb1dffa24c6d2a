"""What of a model travels: all of it, or all but its private tensors; behind it, with SCAFFOLD, its control variates.

Private tensors (`model.private`) stay with the client that trains them: FedBN's normalisation layers (Li et al., ICLR
2021, https://arxiv.org/abs/2102.07623), FedPer's and FedRep's heads. They are in no Spec that both sides speak of.

With SCAFFOLD (Karimireddy et al., ICML 2020, https://arxiv.org/abs/1910.06378) the vector that travels is (x, s c) on
the way up and (x, c) on the way down: behind the model's tensors lies one control tensor for each shared parameter. So
codec, masks, sketches, selection and sums treat both halves alike, and an update counts with both or with neither.

D parameters of the shared model, P of them learned (not buffers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from roughfed.errors import ConfigError
from roughfed.types import Spec, TensorSpec

CONTROL = "control/"
"""In front of a parameter's name: its control variate."""

SCALE = "scaffold"
"""The fact that tells s, by which the second half of an update is multiplied."""

SINCE = "scaffold-since"
"""The fact that tells the last round of those that were taken back: what was kept up to it does not count any more."""

MOST_NAMED = 12


def shared_spec(model: Spec, *, private: Sequence[str] = (), controls: bool = False) -> Spec:
    """The Spec that a federation agrees on, of a whole model's.

    Args:
        model: every float tensor of the model.
        private: patterns of names (`fnmatch`, case matters); what one of them matches stays with the clients.
        controls: whether control variates travel behind the model.

    Raises:
        ConfigError: a pattern matches nothing, or together they leave no parameter to share; or a tensor of the model
            is called like a control variate.
    """
    names = [t.name for t in model.tensors]
    for pattern in private:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f"{pattern!r} matches no tensor of the model", key="model.private", cure=f"its names: {some(names)}"
            )
    shared = tuple(t for t in model.tensors if not is_private(t.name, private))
    if not any(t.kind == "parameter" for t in shared):
        raise ConfigError(
            f"{some(private)} leave no parameter to learn together",
            key="model.private",
            cure=f"match some of these only: {some(names)}",
        )
    if not controls:
        return Spec(shared)
    if any(name.startswith(CONTROL) for name in names):
        raise ConfigError(f"a tensor whose name begins with {CONTROL}", key="model", cure="give it another name")
    return Spec(shared + tuple(replace(t, name=CONTROL + t.name) for t in controls_spec(Spec(shared)).tensors))


def controls_spec(model: Spec) -> Spec:
    """Control variates of a model's shared part, [P], under the names of its parameters."""
    learned = (t for t in model.tensors if t.kind == "parameter")
    return Spec(tuple(replace(t, dtype="float32", kind="buffer") for t in learned))


def is_private(name: str, private: Sequence[str]) -> bool:
    """Whether one of the patterns matches a tensor's name."""
    return any(fnmatchcase(name, pattern) for pattern in private)


def model_part(shared: Spec) -> Spec:
    """What of a federation's Spec is the model; its control variates lie behind it."""
    return Spec(tuple(t for t in shared.tensors if not _is_control(t)))


def has_controls(shared: Spec) -> bool:
    """Whether control variates travel behind the model."""
    return any(map(_is_control, shared.tensors))


def _is_control(tensor: TensorSpec) -> bool:
    return tensor.name.startswith(CONTROL)


def some(names: Sequence[str]) -> str:
    """The first of some names, for a message."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
