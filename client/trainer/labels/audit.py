"""Which labels seem wrong: a file for whoever owns the data, on this machine; nothing of it is ever sent.

Confident learning (Northcutt, Jiang & Chuang, JAIR 2021, section 3.2, "prune by confusion matrix"): an example is
suspected when the class that it is confidently of is not its label. What is judged by is the running mean of what the
rounds' global models predicted for it, kept by its id: a single model swings, and one that trained here has learnt the
wrong labels by heart.

The first round's model has learnt nothing yet, so the file appears with the second round. It is about the examples of
the newest round. N examples, C classes.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from roughfed.client.trainer.examples.views import ById, look
from roughfed.client.trainer.labels.noise import confident_classes
from roughfed.client.trainer.parts import Context
from roughfed.client.trainer.torch_types import integers
from roughfed.errors import ConfigError
from roughfed.files import write_durably
from roughfed.training import LABEL_AUDIT_COLUMNS

PART = "label-audit"
MEMORY = 0.7  # of the running mean, from one round to the next
FIRST_ROUND = 2


def write_audit(context: Context, path: Path) -> None:
    """Judge the labels by the round's global model, which is still in `context.model`, and replace the file.

    Raises:
        ConfigError: examples have no ids, or no classes.
        StorageError: the disk refused.
    """
    if not context.num_classes or "ids" not in context.source.have:
        cause = "labels can be audited where a classification's examples are at hand as arrays"
        raise ConfigError(cause, key="policy.label_audit", cure="give (x, y) arrays or tensors, or switch it off")
    if context.round < FIRST_ROUND:
        return
    found = look(context.model, context.source)
    kept = ById(context.state(PART), found.ids, context.num_classes, fill=float("nan"))
    at, _ = kept.find(found.ids)
    old, new = kept.rows[at], found.probabilities
    mean = torch.where(old.isnan(), new, MEMORY * old + (1 - MEMORY) * new)
    kept.rows[at] = mean
    write_durably(path, table(found.ids, found.labels, mean).encode(), mode=0o600)


def table(ids: Tensor, labels: Tensor, probabilities: Tensor) -> str:
    """The suspects as CSV, the most certain one first.

    Args:
        ids: int64 [N].
        labels: as given, int64 [N].
        probabilities: mean predictions, float32 [N, C].

    Returns:
        lines of id, label, suggested class and score: how much likelier the suggested class is than the label, 0..1.
    """
    labels, probabilities = labels.cpu(), probabilities.float().cpu()
    suggested, sure = confident_classes(labels, probabilities)
    suspects = (sure & (suggested != labels)).nonzero()[:, 0]
    given = probabilities.gather(1, labels[:, None])[:, 0]
    score = (probabilities.gather(1, suggested[:, None])[:, 0] - given).clamp_min(0.0)
    suspects = suspects[score[suspects].argsort(descending=True, stable=True)]
    columns = (integers(column[suspects]) for column in (ids.cpu(), labels, suggested))
    rows = zip(suspects, *columns, strict=True)
    lines = [f"{id_},{label},{class_},{score[at]:.4f}" for at, id_, label, class_ in rows]
    return "\n".join([",".join(LABEL_AUDIT_COLUMNS), *lines]) + "\n"
