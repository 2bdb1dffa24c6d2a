"""The tiers of clients in a plan: what each sends, how many clients it needs, and how they are grouped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from roughfed.codec import CODECS
from roughfed.codec.plan import ChainParams, plan_lanes, plan_subset
from roughfed.config import FederationConfig
from roughfed.config.tiers import TierSettings
from roughfed.deploy.plan_words import FEW_PARAMETERS
from roughfed.masked_round import largest_group
from roughfed.secagg.groups import SMALLEST, group_sizes
from roughfed.server.cohort.tiers import fewest
from roughfed.server.defence.plan import tolerated
from roughfed.tiers import STANDARD, length_of, named, ranges_of
from roughfed.types import Spec

DIGEST = bytes(32)


@dataclass(frozen=True, slots=True)
class TierPlan:
    """One tier of clients.

    Attributes:
        name: "standard" for the standard one.
        keep_one_in: one coordinate in so many is sent.
        tensors: patterns of the tensors that it trains; none: all.
        size: coordinates of these tensors; None where the model is not known.
        update_bytes: of one client in a round, without statistics; None likewise.
        ratio: the same, relative to the float32 parameters of the whole model.
        sketch_dim: numbers that the server sees of each update; 0 without sketches.
        clients: that are looked at: as many as were named, or as few as it needs.
        needs: clients without which it takes no part.
        attackers: of them that the defence tolerates, within the tier.
        groups: sizes of the groups; none in the clear, or where it takes no part.
        refused: why it takes no part with so many; empty where it does.
    """

    name: str
    keep_one_in: int
    tensors: tuple[str, ...]
    size: int | None
    update_bytes: int | None
    ratio: float | None
    sketch_dim: int
    clients: int
    needs: int
    attackers: int
    groups: tuple[int, ...]
    refused: str


def tier_plans(
    config: FederationConfig, counts: Mapping[str, int], *, size: int | None, spec: Spec | None
) -> tuple[TierPlan, ...]:
    """A row for each tier; nothing where there are none.

    Args:
        config: the settings.
        counts: clients of a tier, where somebody named them.
        size: parameters of the model, D, if known.
        spec: its tensors, if known.
    """
    if not config.tiers:
        return ()
    everybody: dict[str, TierSettings | None] = {STANDARD: None, **config.tiers}
    return tuple(_row(config, name, settings, counts.get(name), (size, spec)) for name, settings in everybody.items())


def _row(
    config: FederationConfig,
    name: str,
    settings: TierSettings | None,
    count: int | None,
    model: tuple[int | None, Spec | None],
) -> TierPlan:
    masked = config.privacy.masked
    fraction = settings.fraction if settings else config.codec.fraction if masked else 1.0
    tensors = settings.tensors if settings else ()
    least = fewest(config, 1)
    clients = least if count is None else count
    enough = fewest(config, clients)
    needs = least if enough == clients else enough
    length = _length(model, tensors)
    update = None if length is None else _bytes(config, length, plan_subset(fraction), max(clients, SMALLEST))
    defended = config.defence.rule_of(config.privacy.server_sees) != "none"
    dim = (settings.sketch_dim if settings else 0) or config.sketch.dim
    return TierPlan(
        name=name or "standard",
        keep_one_in=plan_subset(fraction),
        tensors=tensors,
        size=length,
        update_bytes=update,
        ratio=update / (4 * model[0]) if update is not None and model[0] else None,
        sketch_dim=dim if config.privacy.server_sees == "sketches" else 0,
        clients=clients,
        needs=needs,
        attackers=tolerated(config.defence.f, clients) if defended else 0,
        groups=tuple(group_sizes(clients)) if masked and needs <= clients else (),
        refused="" if needs <= clients else f"too few of {named(name)}: {clients} of {needs}",
    )


def _length(model: tuple[int | None, Spec | None], tensors: tuple[str, ...]) -> int | None:
    size, spec = model
    if not tensors:
        return size
    return None if spec is None else length_of(ranges_of(spec, tensors))


def _bytes(config: FederationConfig, length: int, keep_one_in: int, clients: int) -> int:
    if config.privacy.masked:
        lanes = plan_lanes(largest_group(clients), bits=config.codec.lane_bits or None)
        return ChainParams(length, lanes, config.codec.clip_norm, DIGEST, keep_one_in).sent_bytes
    if keep_one_in > 1:
        return CODECS["identity"].max_bytes(-(-length // keep_one_in))
    return CODECS[config.codec.uplink(config.privacy.server_sees)].max_bytes(length)


def tier_warnings(plans: tuple[TierPlan, ...]) -> Iterator[str]:
    """What works and is probably not meant."""
    for one in plans:
        sent = None if one.size is None else one.size // one.keep_one_in
        if sent is not None and one.sketch_dim and sent < FEW_PARAMETERS * one.sketch_dim and one.name != "standard":
            yield (
                f"Tier {one.name} sends {sent} coordinates, and the server sees {one.sketch_dim} numbers of each of "
                f"its updates: much of it. Lower tiers.{one.name}.sketch_dim, or have it train more."
            )
