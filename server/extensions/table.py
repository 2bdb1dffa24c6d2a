"""The extensions of the rounds, in the order in which they are called.

A feature without its row here is gone, and so must be those that import it: the ledger stands on contribution and
free-riders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from roughfed.server.context.extension import Extension
from roughfed.server.context.server import ServerContext
from roughfed.server.extensions.calibration import Calibration
from roughfed.server.extensions.clusters.extension import ClusterExtension
from roughfed.server.extensions.contribution.extension import ContributionScoring
from roughfed.server.extensions.edge.extension import EdgeExtension
from roughfed.server.extensions.edge.upstream import Above
from roughfed.server.extensions.fairness import FairnessExtension
from roughfed.server.extensions.fednova import FedNova
from roughfed.server.extensions.free_riders.extension import FreeRiders
from roughfed.server.extensions.ledger.extension import LedgerExtension
from roughfed.server.extensions.scaffold import Scaffold
from roughfed.server.extensions.tiers import Tiers
from roughfed.server.model.run_setup import Drawing


@dataclass(frozen=True, slots=True)
class ExtensionInputs:
    """What extensions need beside the server.

    Attributes:
        draw: makes fresh weights of the shared tensors.
        above: at an edge, the federation above.
    """

    draw: Drawing
    above: Above | None = None


EXTENSIONS: Mapping[str, Callable[[ServerContext, ExtensionInputs], Extension | None]] = MappingProxyType(
    {
        "calibration": lambda ctx, _: Calibration(ctx) if ctx.config.trainer.calibrate != "none" else None,
        "edge": lambda ctx, given: None if given.above is None else EdgeExtension(ctx, given.above),
        "scaffold": lambda ctx, _: Scaffold(ctx) if ctx.config.trainer.scaffold else None,
        "fednova": lambda ctx, _: FedNova(ctx) if ctx.config.aggregate.scaling == "fednova" else None,
        "fairness": lambda ctx, _: FairnessExtension(ctx),
        "tiers": lambda ctx, _: Tiers(ctx) if ctx.config.tiers else None,
        "free-riders": lambda ctx, _: FreeRiders(ctx),
        "clusters": lambda ctx, given: ClusterExtension(ctx, given.draw),
        "contribution": lambda ctx, _: ContributionScoring(ctx),
        "ledger": lambda ctx, _: LedgerExtension(ctx),
    }
)


def add_extensions(ctx: ServerContext, given: ExtensionInputs) -> None:
    """Every extension of the table that there is with these settings; one that is off costs a round nothing."""
    for make in EXTENSIONS.values():
        if (extension := make(ctx, given)) is not None:
            ctx.extensions.add(extension)
