"""The operation `calibrate`: a model's classifier is made anew from sums over the clients. C classes, d features.

What is kept from round to round (CReFF's features) is made of sums that the server has seen, so it lies in the open. It
is read from one file and written to another: a finishing that is done again after a crash gives the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch as safetensors
import torch
from torch import Tensor, nn

from roughfed.client.trainer.calibrate import FINISHERS
from roughfed.client.trainer.model.head import find_head
from roughfed.client.trainer.model.model_file import open_given
from roughfed.client.trainer.model.tensors import load_flat
from roughfed.client.trainer.settings import known
from roughfed.client.trainer.torch_types import bias_of
from roughfed.client.trainer.training.classifier_sums import Classifier, CohortSums


@torch.no_grad()
def finish(model: nn.Module, num_classes: int, arguments: Mapping[str, Any]) -> list[float]:
    """Put a new classifier into the model.

    Args:
        model: on its device; its tensors are overwritten.
        num_classes: C.
        arguments: `params`: the model file to finish; `how`: a row of FINISHERS; `sums`: real numbers by statistic;
            `seed`; `at`: the classifier at which gradients were taken, empty: that of the model file `base`; `kept`,
            `keep`: files of what lasts from round to round, before and after (empty: none).

    Returns:
        the classifier: weights row by row, then biases (zeros where the layer has none).

    Raises:
        ConfigError: no such way, a model without a classifier, or sums of another shape.
    """
    how = FINISHERS[known(arguments["how"], FINISHERS, key="trainer.calibrate")]
    linear = find_head(model, num_classes).linear
    base = open_given(Path(arguments["base"] or arguments["params"]), model)
    load_flat(model, base.spec, base.flat)
    at = _classifier(linear)
    params = open_given(Path(arguments["params"]), model)
    load_flat(model, params.spec, params.flat)
    if arguments["at"]:
        at = Classifier.of(arguments["at"], at)
    generator = torch.Generator().manual_seed(arguments["seed"])
    given = CohortSums(_classifier(linear), arguments["sums"], generator, at, _read(arguments["kept"]))
    with torch.enable_grad():
        made = how(given)
    linear.weight.copy_(made.weight)
    if (bias := bias_of(linear)) is not None:
        bias.copy_(made.bias)
    if given.kept and arguments["keep"]:
        _write(Path(arguments["keep"]), given.kept)
    return made.flat()


def _classifier(linear: nn.Linear) -> Classifier:
    weight = linear.weight.detach().cpu().float().clone()
    bias = bias_of(linear)
    return Classifier(weight, torch.zeros(len(weight)) if bias is None else bias.detach().cpu().float().clone())


def _read(path: str) -> dict[str, Tensor]:
    return safetensors.load_file(path) if path and Path(path).exists() else {}


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    partial = path.with_name(path.name + ".partial")
    safetensors.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
    partial.replace(path)
