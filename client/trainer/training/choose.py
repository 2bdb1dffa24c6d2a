"""Which parts train: those of the settings, or those that fit the local data; held against what the client can give.

With `trainer.method = "auto"` a client looks at its own data (`probe/`) and picks. The choice lies in its state, so
that it is the same from round to round, and is looked at again when the data have changed. It stays with the client:
the log on its own disk says what was chosen and why, and no figure of such a training is reported.

Labels are judged late in the run (`probe/labels.py`). Early on, a model that has not learnt the task yet contradicts
right labels as often as wrong ones; and parts for wrong labels learn slowly, which costs more than wrong labels do as
long as the model has not learnt them by heart (docs/decisions/0047-labels-judged-late.md).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import torch

from roughfed.client.trainer.examples.probe_sample import ProbeResult, Sample, sample_of
from roughfed.client.trainer.model.head import ends_in_head
from roughfed.client.trainer.parts import Context, Tensors
from roughfed.client.trainer.probe import PROBES
from roughfed.client.trainer.torch_types import integers
from roughfed.errors import ConfigError
from roughfed.methods import AUTO, PLAIN, Composition, missing, read_method

log = logging.getLogger(__name__)

CHANGED = 0.1
"""Total variation distance between the classes' shares, 0..1, from which on data are looked at again."""

GROWN = 1.5
"""Factor by which their number has changed, for the same."""

LOOKS = 10
"""In a run, at data that stay the same."""

IN_PAIRS = "forward-correction(q=0.5)+weight-average"

LABELS: Mapping[tuple[bool, str], tuple[str, ...]] = {
    (False, ""): ("",),
    (True, ""): ("balanced-softmax",),
    (False, "evenly"): ("gce",),
    (False, "in pairs"): (IN_PAIRS, "gce"),
    (True, "evenly"): ("balanced-softmax", "gce"),  # gce in its place costs a tail more than these labels do
    (True, "in pairs"): (IN_PAIRS, "balanced-softmax"),
}
"""(long tail, how labels are wrong) -> parts, the first that the client can have."""

STREAMS: Mapping[bool, tuple[str, ...]] = {False: ("",), True: ("der++", "lwf", "")}
"""Whether classes come and go -> parts."""


def composition_for(context: Context, *, allow_memory: bool) -> Composition:
    """The parts of this training.

    Raises:
        ConfigError: a part needs what this client does not have; says which part, and what.
    """
    if context.settings.method == AUTO:
        return chosen(context, allow_memory=allow_memory)
    composition = read_method(context.settings.method)
    check(composition, context, allow_memory=allow_memory)
    return composition


def check(composition: Composition, context: Context, *, allow_memory: bool) -> None:
    """Hold a composition against this client.

    Raises:
        ConfigError: see `composition_for`.
    """
    if not composition.parts:
        return
    found = missing(composition, has(context, composition, allow_memory=allow_memory))
    if found:
        name, need = found[0]
        raise ConfigError(f"{name} needs {need}", key="trainer.method", cure=f"leave {name} out, or give it that")


def chosen(context: Context, *, allow_memory: bool) -> Composition:
    """The parts that fit the local data: those of the last look, or of a new one where the data have changed."""
    if not context.num_classes:
        return Composition()  # nothing to choose from for a regression
    kept = context.state(AUTO)
    sample = sample_of(context)
    looks = int(context.progress * LOOKS)
    changed = _changed(sample, context, kept)
    if not (changed or looks != int(kept["looks"])):
        return _usable(_read(kept), context, allow_memory=allow_memory)
    if "looks" not in kept:
        context.state(f"{AUTO}-noisy").clear()  # of nobody, or of an earlier version, which found more than there was
    elif changed:
        context.state(f"{AUTO}-noisy").pop("right", None)  # of other data
    findings = {name: probe(sample, context.state(f"{AUTO}-{name}")) for name, probe in PROBES.items()}
    candidates = list(_candidates(findings))
    composition = next(c for c in candidates if not _lacks(c, context, allow_memory=allow_memory))
    reasons = "; ".join(finding.why for finding in findings.values())
    level = logging.INFO if changed or str(composition) != _read(kept) else logging.DEBUG
    log.log(level, "round %d, chosen from the data here: %s (%s)", context.round, composition, reasons)
    if composition != candidates[0]:
        log.log(
            level,
            "%s would fit better, but needs %s",
            candidates[0],
            _lacks(candidates[0], context, allow_memory=allow_memory),
        )
    kept["looks"] = torch.tensor(looks)
    kept["line"] = torch.tensor(list(str(composition).encode()), dtype=torch.uint8)
    return composition


def has(context: Context, composition: Composition, *, allow_memory: bool) -> set[str]:
    """What this client has of `roughfed.methods.NEEDS`; what the composition does not ask for is not looked for."""
    have = set(context.source.have) | ({"classes"} if context.num_classes else set[str]())
    have |= {"memory"} if allow_memory else set()
    have |= {"clean"} if context.clean is not None else set()
    have |= {"experts"} if hasattr(context.model, "each") else set()
    have |= {"tasks"} if context.task >= 0 else set()
    have |= {"private"} if context.scope.private else set()
    have |= {"transition"}  # the parts that take one say themselves what is wrong with it
    if composition.needs & {"images", "head"}:
        x = next(iter(context.source.epoch(2, None)))[0]
        have |= {"images"} if x.dim() == 4 else set()
        context.model.eval()
        have |= {"head"} if ends_in_head(context.model, x, context.num_classes) else set()
    return have


def _candidates(findings: Mapping[str, ProbeResult]) -> Iterator[Composition]:
    """Compositions for what was found, the best first; the last one needs nothing."""
    noise = findings["noisy"]
    how = ("in pairs" if noise.paired else "evenly") if noise.found else ""
    for stream in STREAMS[findings["continual"].found]:
        for labels in LABELS[findings["long-tail"].found, how]:
            yield read_method("+".join(filter(None, (labels, stream))) or PLAIN)
    yield Composition()


def _lacks(composition: Composition, context: Context, *, allow_memory: bool) -> str:
    """What keeps this client from a composition; empty: nothing."""
    found = missing(composition, has(context, composition, allow_memory=allow_memory))
    return ", ".join(sorted({need for _, need in found}))


def _usable(line: str, context: Context, *, allow_memory: bool) -> Composition:
    """What was chosen; plain if the client cannot have it any more: its policy may have changed."""
    composition = read_method(line)
    return Composition() if _lacks(composition, context, allow_memory=allow_memory) else composition


def _changed(sample: Sample, context: Context, kept: Tensors) -> bool:
    """Whether these are other data than at the last look; they are noted if so."""
    counts, size = sample.counts(), float(context.source.num_examples)
    now = torch.cat([torch.tensor([float(context.task), size]), counts / counts.sum().clamp_min(1.0)])
    then = kept.get("looked")
    same = (
        then is not None
        and {"line", "looks"} <= kept.keys()
        and float(then[0]) == context.task
        and 1 / GROWN < size / max(1.0, float(then[1])) < GROWN
        and 0.5 * float((now[2:] - then[2:]).abs().sum()) < CHANGED
    )
    if not same:
        kept["looked"] = now
    return not same


def _read(kept: Tensors) -> str:
    return bytes(integers(kept["line"])).decode()
