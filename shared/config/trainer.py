"""[trainer]: the learning settings, the same in fed.toml, in the job and in client.toml."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from roughfed.config.values import STRICT


class TrainerSettings(BaseModel):
    """How a client trains on the base model of a round."""

    model_config = STRICT

    loss: Literal["auto", "cross-entropy", "mse"] = Field(
        default="auto", description='Loss; "auto" is cross-entropy for classification and mse for regression.'
    )
    optimizer: Literal["sgd"] = Field(default="sgd", description="Optimizer of the local steps.")
    epochs: int = Field(default=1, ge=1, le=10_000, description="Passes over the local data in one round.")
    batch_size: int = Field(default=32, ge=1, le=1_000_000, description="Examples in one step.")
    lr: float = Field(default=0.05, gt=0, description="Learning rate of the local optimizer.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum of the local optimizer.")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty of the local optimizer.")
    max_steps: int = Field(
        default=0, ge=0, description="Most steps in one round, whatever the epochs are; 0 = no limit beside the epochs."
    )
