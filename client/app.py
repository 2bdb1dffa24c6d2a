"""The client agent: opens sessions with the server, and comes back after every fault.

It retries for ever, with full jitter, on everything that may pass (no server, a broken stream), and stops at once on a
refusal (revoked, wrong model, a policy of this client): then trying again would only be noise.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from roughfed.client.connection.diagnose import diagnose
from roughfed.client.connection.reconnect import AfterRuns, after_faults, when_asked
from roughfed.client.context import ClientContext
from roughfed.client.disclosure.mode import Mode
from roughfed.client.local.availability import Availability
from roughfed.client.local.learning_settings import LearningSettings
from roughfed.client.local.machine import Watcher
from roughfed.client.members import credential_files
from roughfed.client.members.renewal import Renewal
from roughfed.client.metrics import ClientMetrics
from roughfed.client.outbox import Outbox
from roughfed.client.rules.checks import CODECS
from roughfed.client.session import FINISHED, Session
from roughfed.client.setup import Setup
from roughfed.client.storage.own_secret import mixed_seed, own_secret
from roughfed.client.storage.store import ClientStore
from roughfed.errors import IdentityError, ModeRefused, Unreachable
from roughfed.messages import Reconnect
from roughfed.trainer_client import Description

log = logging.getLogger(__name__)

DIAGNOSE_EVERY = 5


class Agent:
    """One running client: what lives as long as it, and its sessions."""

    def __init__(self, setup: Setup, store: ClientStore, description: Description) -> None:
        """Nothing is connected yet."""
        self._setup = setup
        self.metrics = ClientMetrics(codecs=CODECS)
        self._outbox = Outbox(self.metrics)
        self._availability = Availability(setup.config.participate, setup.clock)
        policy = setup.config.policy
        self._watcher = Watcher(self.metrics, setup.folder, device=description.device, share=policy.share_machine)
        self.mode = Mode(store, policy.server_sees, self.metrics)
        secret = own_secret(setup.folder)
        self.ctx = ClientContext(
            store=store,
            trainer=setup.trainer,
            description=description,
            metrics=self.metrics,
            settings=LearningSettings(setup.config, description.settings),
            own_secret=secret,
            training_seed=setup.training_seed or mixed_seed(secret),
            enter=self._outbox.enter,
            send=self._outbox.send,
            round_secret=setup.secret,
            machine=setup.machine,
            on_trained=self._watcher.trained,
            on_header=self.mode.record_round,
        )
        self.session = Session(
            self.ctx, setup, self._outbox, mode=self.mode, availability=self._availability, watcher=self._watcher
        )
        self._watching: asyncio.Task[None] | None = None

    @property
    def renewal(self) -> Renewal:
        """Of this client's certificate."""
        return self.session.renewal

    async def run(self) -> str:
        """Connect, and connect again; returns why there is nothing left to do."""
        self._watching = asyncio.create_task(self._watcher.watch())
        over, stay = AfterRuns(), self._setup.config.client.stay > 1
        pauses, failures = after_faults(stay=stay), 0
        while True:
            await self._availability.wait_until_open(self._outbox.enter)
            try:
                end = self._next_run(await self.session.run(), over)
                if not isinstance(end, Reconnect):
                    return end
                pauses, failures, pause = after_faults(stay=stay), 0, when_asked(end, self._setup.folder)
                self.metrics.reconnecting("asked")
            except ModeRefused as error:
                await self.mode.refuse(error)
                raise
            except IdentityError as error:
                pause = await self.renewal.recover(error)
            except Unreachable as error:
                if self.session.welcomed or (self.ctx.channel is not None and self.ctx.channel.heard):
                    pauses, failures = after_faults(stay=stay), 0
                pause, failures = next(pauses), failures + 1
                self.metrics.reconnecting("unreachable")
                await self._explain(error, failures, pause)
            await asyncio.sleep(pause)

    def _next_run(self, end: Reconnect | str, over: AfterRuns) -> Reconnect | str:
        """Where the run is over, and the owner agreed to another one: when to look for it."""
        joined = self.session.context
        return over.over(joined.welcome.run) if end == FINISHED and joined is not None and joined.may_go_on else end

    async def close(self) -> None:
        """End what is under way."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        await self.session.close()

    async def _explain(self, error: Unreachable, failures: int, pause: float) -> None:
        if failures % DIAGNOSE_EVERY == 0:
            credentials = credential_files.load(self._setup.credentials_folder)
            reason = await asyncio.to_thread(diagnose, self.session.address(credentials), credentials)
            if reason.final is not None:
                raise reason.final
            log.warning("%s", reason.sentence)
        log.info("not connected (%s); next try in %.1f s", error, pause)

    # -- what others see ----------------------------------------------------------------------------------------------

    def health(self) -> tuple[bool, str]:
        """Whether a session is open, and what this client is doing."""
        until, phase = self._availability.away_until, self._outbox.phase.phase
        return self.session.welcomed, phase if until is None else f"away until {self._availability.shown(until)}"

    def progress(self, share: float) -> None:
        """Progress of local training, 0 to 1."""
        self._outbox.progress(share)
