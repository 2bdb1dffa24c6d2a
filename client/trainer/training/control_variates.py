"""Control variates on their way into a training and out of it (`regularize/scaffold.py`). P learned parameters."""

from __future__ import annotations

import numpy as np
import torch

from roughfed.client.trainer.model.model_file import ModelFile
from roughfed.client.trainer.parts import Context, Controls
from roughfed.errors import ConfigError
from roughfed.methods import AUTO, read_method
from roughfed.params import Flat, unflatten
from roughfed.shared_tensors import SCALE, SINCE, controls_spec
from roughfed.training import Turn

KEY = "trainer.method"


def controls_for(context: Context, given: ModelFile, turn: Turn, *, own_loop: bool) -> Controls | None:
    """The control variates of a training; None where none travel.

    Raises:
        ConfigError: the federation goes by them and this client's training does not, or the other way round.
    """
    method = context.settings.method
    wanted = method != AUTO and "scaffold" in read_method(method)
    if given.controls is None:
        if wanted and not own_loop:  # a loop of one's own hears of no method
            cure = "leave it out; whoever runs the server writes it into fed.toml, for all clients"
            raise ConfigError(
                "scaffold needs the other clients' drift, and this federation sums none", key=KEY, cure=cure
            )
        return None
    if own_loop or not wanted:
        what = "a loop of its own" if own_loop else f"method = {method}"
        cure = "train with the federation's method, or join one that trains without scaffold"
        raise ConfigError(f"this federation trains with scaffold, and this client with {what}", key=KEY, cure=cure)
    scale = turn.facts.get(SCALE, ())
    if len(scale) != 1 or not 0 < scale[0] < float("inf"):
        raise ConfigError("the server did not say how control variates are scaled", key=KEY)
    parts = unflatten(np.array(given.controls), controls_spec(given.spec))
    now = {name: torch.from_numpy(values).to(context.device) for name, values in parts.items()}
    since = turn.facts.get(SINCE, ())
    return Controls(now, scale[0], turn.said, since=int(since[0]) if since else 0)


def behind(given: ModelFile, controls: Controls | None) -> Flat | None:
    """What follows the model's delta, float32 [P]; zeros where nothing was trained."""
    if given.controls is None:
        return None
    if controls is None or controls.change is None:
        return np.zeros_like(given.controls)
    return controls.change.cpu().numpy()
