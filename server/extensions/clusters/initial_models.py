"""The models that clusters begin with where clients choose: fresh weights of other seeds, or copies of given ones.

Given weights (`model.init`) are the same for all clusters but for a little noise, a tenth of each tensor's own spread:
what they have learnt stays, and there is something to choose. Without them every cluster draws its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from roughfed.errors import ConfigError
from roughfed.files import place_durably
from roughfed.params import Flat, read_flat, write_model
from roughfed.rng import derive, generator
from roughfed.server.context.server import ServerContext
from roughfed.server.extensions.clusters.choices import Choosing
from roughfed.server.extensions.clusters.schedule import ClusterSchedule
from roughfed.server.model.run_setup import Drawing
from roughfed.server.storage.lineage import DEFAULT
from roughfed.server.storage.store import Store
from roughfed.types import Spec

log = logging.getLogger(__name__)

NOISE = 0.1
"""Standard deviation of what is added to a given tensor, in units of its own."""


_FIRST = "SELECT 1 FROM clusters WHERE why = 'first'"


class FirstModels:
    """Draws the models that clusters begin with."""

    def __init__(self, ctx: ServerContext, clusters: ClusterSchedule, draw: Drawing) -> None:
        """`draw` makes fresh weights of the shared tensors."""
        self._ctx, self._clusters, self._draw_weights = ctx, clusters, draw

    async def prepare(self) -> None:
        """Before the first round: the models to choose from, and is the run still the one that it was?

        Raises:
            ConfigError: the run began with other clusters.
        """
        store, settings = self._ctx.store, self._clusters.settings
        known = store.lineage.clusters()
        chosen = self._clusters.journal.last_choosing() is not None or len(store.journal.read(_FIRST)) > 0
        wanted = settings.k if settings.method == "ifca" else 1
        played = store.last_round() is not None
        if (chosen and len(known) != wanted and played) or (settings.method == "ifca" and played and not chosen):
            raise ConfigError(
                f"the run in this directory had {len(known) if chosen else 1} first models, not {wanted}",
                key="clusters.k" if settings.method == "ifca" else "clusters.method",
                cure="use the run's own, or start the new one in an empty --dir",
            )
        if not self._clusters.on and len(known) > 1:
            raise ConfigError(
                f"the run in this directory has {len(known)} clusters, and one model could not go on from theirs",
                key="clusters.method",
                cure='write method = "cfl" in [clusters] again, or start a new run in an empty --dir',
            )
        if settings.method == "ifca":
            for cluster in map(str, range(1, settings.k)):
                if cluster not in known:
                    await self._draw(cluster, 0)

    async def draw_again(self, last: Choosing, clusters: Sequence[str]) -> None:
        """Draw the models anew that nobody chose in `last`; those that were drawn since then stay."""
        asked = {cluster: version for cluster, version, _ in last.models}
        for cluster in clusters:
            if self._ctx.store.lineage.head(cluster).version == asked[cluster]:
                log.info("nobody chose the model of cluster %s: it is drawn anew", cluster)
                await self._draw(cluster, last.number)

    async def _draw(self, cluster: str, attempt: int) -> None:
        store, config = self._ctx.store, self._ctx.config
        path = store.folder / "models" / f"first-{cluster}.safetensors"
        seed = derive(config.federation.seed, "initial", cluster, attempt)
        if config.model.init:
            digest = await asyncio.to_thread(perturbed, store, self._ctx.spec, path, seed)
        else:
            digest = await self._draw_weights(path, seed=seed)
        await asyncio.to_thread(place_durably, path, store.model_path(digest))
        await self._clusters.journal.add_first(cluster, digest, time.time())


def perturbed(store: Store, spec: Spec, path: Path, seed: int) -> bytes:
    """Write the run's first weights with a little noise; returns their digest."""
    first = next(each for each in store.lineage.all() if each.cluster == DEFAULT)
    flat, rng = read_flat(store.model_path(first.digest)), generator(seed, "perturbed")

    def pieces() -> Iterator[Flat]:
        at = 0
        for tensor in spec.tensors:
            values = np.array(flat[at : at + tensor.size], dtype=np.float32)
            at += tensor.size
            spread = NOISE * float(values.std()) if tensor.kind == "parameter" else 0.0
            values += np.multiply(rng.standard_normal(tensor.size, dtype=np.float32), np.float32(spread))
            yield values

    return write_model(path, spec, pieces())
