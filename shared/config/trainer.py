"""[trainer]: the learning settings, the same in fed.toml, in the job and in client.toml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from roughfed.config.values import STRICT, Words, refuse, show
from roughfed.errors import ConfigError
from roughfed.methods import AUTO, read_method, write_table


def _line(value: object) -> object:
    """A table of parts as the line that it means."""
    if not isinstance(value, Mapping):
        return value
    try:
        return write_table(cast("Mapping[str, object]", value))
    except ConfigError as error:
        return _refuse(error)


def _method(value: str) -> str:
    if value == AUTO:
        return value
    try:
        return str(read_method(value))
    except ConfigError as error:
        return _refuse(error)


def _refuse(error: ConfigError) -> Any:
    cause = str(error).removeprefix(f"{error.key}: ")
    cure = error.cure or "See docs/trainers.md for the parts."
    return refuse(f"{cause[:1].upper()}{cause[1:]}.", f"{cure[:1].upper()}{cure[1:]}.")


Method = Annotated[
    str,
    BeforeValidator(_line),
    AfterValidator(_method),
    Words('"plain", "auto", or parts such as "balanced-softmax+der++(alpha=0.3)"', show),
]


class TrainerSettings(BaseModel):
    """How a client trains on the base model of a round."""

    model_config = STRICT

    method: Method = Field(
        default="plain",
        description='Parts of the training, joined by "+", or a table of them (docs/trainers.md); "plain" is the '
        'task\'s own loss; "auto" is chosen by each client from its data.',
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field(
        default="sgd", description="Optimizer of the local steps; its moments start afresh in every round."
    )
    epochs: int = Field(default=1, ge=1, le=10_000, description="Passes over the local data in one round.")
    batch_size: int = Field(default=32, ge=1, le=1_000_000, description="Examples in one step.")
    lr: float = Field(default=0.05, gt=0, description="Learning rate of the local optimizer.")
    momentum: float = Field(
        default=0.9, ge=0, lt=1, description="Momentum of the local optimizer; beta1 of adam and adamw."
    )
    weight_decay: float = Field(
        default=0.0, ge=0, description="L2 penalty of the local optimizer; adamw takes it off the parameters."
    )
    max_steps: int = Field(
        default=0, ge=0, description="Most steps in one round, whatever the epochs are; 0 = no limit beside the epochs."
    )
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="Course of the learning rate over the run; cosine ends at 0."
    )
    lr_decay: float = Field(
        default=1.0, gt=0, le=1, description="Factor of the learning rate from one round to the next."
    )
    prior: Literal["local", "global"] = Field(
        default="local",
        description="Class shares that parts adjust by: the client's own, or those of all clients from a sum that each "
        "gives once.",
    )
    self_weight: bool = Field(
        default=False,
        description="Let a client whose labels look wrong to it weigh itself down, to 3/4, 1/2 or 1/4, in public.",
    )
    calibrate: Literal["none", "ccvr", "creff", "post-hoc"] = Field(
        default="none",
        description="Finish the classifier on the server, beside the model (roughfed export --calibrated), from sums: "
        "of features in the last round (ccvr), of the classifier's gradients in every round (creff), of class counts "
        "(post-hoc).",
    )
    compare_alone: bool = Field(
        default=False,
        description="Have each client train a second model without the others, on the same data for as many epochs, "
        "and evaluate it beside the common and its own one; the training takes twice as long.",
    )

    @property
    def scaffold(self) -> bool:
        """Whether control variates travel with the model (`roughfed.shared_tensors`)."""
        return self.method != AUTO and "scaffold" in read_method(self.method)

    @property
    def scale(self) -> float:
        """What a difference of control variates is multiplied by on its way up, s.

        It is what a model moves by along a gradient of that size in a usual training (lr times its steps, longer with
        momentum), so that both halves of an update have norms alike. The same for all clients and all rounds.
        """
        steps = [float(part.options["steps"]) for part in read_method(self.method).parts if part.name == "scaffold"]
        return self.lr * sum(steps) / (1 - self.momentum)
