"""client/trainer/settings.py: strict, and says what it wanted."""

from __future__ import annotations

from dataclasses import asdict
from typing import get_args

import pytest

from roughfed.client.trainer.settings import OPTIMIZERS, TrainerSettings
from roughfed.config import trainer as config
from roughfed.errors import ConfigError


def test_defaults_and_whole_numbers_for_floats() -> None:
    assert TrainerSettings.parse({}) == TrainerSettings()
    assert TrainerSettings.parse({"lr": 1, "epochs": 2}) == TrainerSettings(lr=1.0, epochs=2)


@pytest.mark.parametrize(
    ("given", "say"),
    [
        ({"epoch": 2}, "did you mean 'epochs'"),
        ({"epochs": 0}, "1 or more"),
        ({"epochs": 1.5}, "whole number"),
        ({"epochs": True}, "whole number"),
        ({"batch_size": -1}, "1 or more"),
        ({"lr": 0}, "above 0"),
        ({"lr": float("nan")}, "above 0"),
        ({"lr": float("inf")}, "above 0"),
        ({"lr": "fast"}, "a number"),
        ({"momentum": 1.0}, "below 1"),
        ({"weight_decay": -0.1}, "0 or more"),
        ({"max_steps": -1}, "0 (no limit)"),
        ({"method": 3}, "a name"),
        ({"method": "fedprx"}, "did you mean 'fedprox'"),
        ({"method": "fedprox(mu=-1)"}, "at least 0"),
        ({"optimizer": "sgdd"}, "did you mean 'sgd'"),
    ],
)
def test_bad_settings(given: dict[str, object], say: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainerSettings.parse(given)
    assert say in f"{caught.value} ({caught.value.cure})"
    assert caught.value.key.startswith("trainer")


def test_the_configuration_and_the_trainer_speak_of_the_same_settings() -> None:
    assert config.TrainerSettings().model_dump() == asdict(TrainerSettings())
    assert get_args(config.TrainerSettings.model_fields["optimizer"].annotation) == OPTIMIZERS
