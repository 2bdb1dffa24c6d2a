"""Clusters as an extension of the rounds."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.messages import Choice, ClientMessage
from roughfed.server.context.extension import Extension, Figures, Payloads
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.defence import View
from roughfed.server.extensions.clusters.choice_requests import ClusterChoice
from roughfed.server.extensions.clusters.initial_models import FirstModels
from roughfed.server.extensions.clusters.schedule import ClusterSchedule
from roughfed.server.members.sessions import ClientSession
from roughfed.server.model.run_setup import Drawing


class ClusterExtension(Extension):
    """Gives the schedule by which clusters take turns, looks at the rows of rounds, and asks clients to choose."""

    def __init__(self, ctx: ServerContext, draw: Drawing) -> None:
        """`draw` makes fresh weights of the shared tensors."""
        self.schedule = self._clusters = ClusterSchedule(ctx.config, ctx.store, ctx.clients.able)
        self._first = FirstModels(ctx, self._clusters, draw)
        self._choice = ClusterChoice(ctx, self._clusters, self._first)

    async def prepare(self) -> None:
        """See `FirstModels.prepare`."""
        await self._first.prepare()

    async def between(self, until: float | None) -> bool:
        """Split, move and ask what is due."""
        return await self._choice.between(until)

    async def on_views(
        self, round_: RoundState, views: Mapping[str, View], payloads: Mapping[str, Payloads]
    ) -> Mapping[str, View]:
        """Clusters are found by the rows of all, whoever is left out."""
        del payloads
        unit = round_.header.clip_norm if round_.header.masked else 1.0
        for view in views.values():
            await self._clusters.seen(view, round_.number, round_.row.cluster, unit=unit)
        return views

    def figures(self, round_: RoundState) -> Figures:
        """Who is where."""
        return self._clusters.summary(round_.row)

    async def on_message(self, session: ClientSession, message: ClientMessage) -> bool:
        """A client's choice."""
        if not isinstance(message, Choice):
            return False
        await self._choice.accept(session, message)
        return True
