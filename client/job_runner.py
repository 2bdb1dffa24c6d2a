"""One job at a time: begun, gone on with after a reconnect, let go, and what becomes of it told to the server."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from enum import Enum, auto

from roughfed.client.context import ClientContext, Inbox, SessionContext
from roughfed.client.disclosure.mode import Mode
from roughfed.client.local.availability import REASONS, Availability
from roughfed.client.round.job import do_job
from roughfed.client.rules.checks import job_number
from roughfed.errors import ModeRefused, RoughfedError, StaleRound, TrainerError
from roughfed.messages import EvaluationReport, JobUpdate, RoundClosed, ServerStage
from roughfed.mode import MODES
from roughfed.types import Job

log = logging.getLogger(__name__)

SITS_OUT = ("sat-out", "left-out", *REASONS)


class JobState(Enum):
    """Where the runner is."""

    IDLE = auto()
    WORKING = auto()
    ENDING = auto()  # it was let go, and something that cannot be stopped still runs


class Event(Enum):
    """What happens to it."""

    START = auto()  # a job comes
    REPEAT = auto()  # the job that is under way comes again, after a reconnect
    STAGE = auto()  # the server goes on with a masked round
    CLOSE = auto()  # the job's round is over
    STOP = auto()  # nobody wants the job done any more
    DONE = auto()  # its task has ended


TRANSITIONS: dict[tuple[JobState, Event], JobState] = {
    (JobState.IDLE, Event.START): JobState.WORKING,
    (JobState.WORKING, Event.START): JobState.WORKING,  # the job before is let go
    (JobState.ENDING, Event.START): JobState.WORKING,
    (JobState.WORKING, Event.REPEAT): JobState.WORKING,
    (JobState.ENDING, Event.REPEAT): JobState.ENDING,
    (JobState.WORKING, Event.STAGE): JobState.WORKING,
    (JobState.WORKING, Event.CLOSE): JobState.WORKING,  # a masked round's job ends by itself, with the round
    (JobState.WORKING, Event.STOP): JobState.ENDING,
    (JobState.WORKING, Event.DONE): JobState.IDLE,
    (JobState.ENDING, Event.DONE): JobState.IDLE,
}
"""What is not here changes nothing: a stage of a round whose job is done, a word on one that was never begun."""


class JobRunner:
    """The job of this client that is under way, if any."""

    def __init__(self, ctx: ClientContext, availability: Availability, mode: Mode) -> None:
        """Nothing is under way.

        Args:
            ctx: of the process.
            availability: refuses jobs that cannot be done in time.
            mode: hears of a job that would show the server too much.
        """
        self._ctx, self._availability, self._mode = ctx, availability, mode
        self._state = JobState.IDLE
        self._key: tuple[bool, bytes] | None = None
        self._inbox: Inbox = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None
        self.round = 0

    @property
    def state(self) -> JobState:
        """Where it is."""
        if self.task is not None and self.task.done():
            self._state = TRANSITIONS.get((self._state, Event.DONE), self._state)
        return self._state

    def _go(self, event: Event) -> bool:
        """Make a transition; False: there is none."""
        following = TRANSITIONS.get((self.state, event))
        if following is not None:
            self._state = following
        return following is not None

    def start(self, session: SessionContext, job: Job) -> None:
        """Begin a job; where it is the one that is under way, its transfers go on."""
        key = (job.train, job.header.digest)
        if key == self._key and self._go(Event.REPEAT):
            self._ctx.resumed.set()
            self._inbox.put_nowait("again")
            return
        if self.task is not None:
            self.task.cancel()
        self._go(Event.START)
        self._key, self.round, self._inbox = key, job_number(job), asyncio.Queue()
        self.task = asyncio.create_task(self._work(session, job))

    def accept(self, message: ServerStage) -> None:
        """The server goes on with a masked round."""
        if self._go(Event.STAGE):
            self._inbox.put_nowait(message)

    def close_round(self, closed: RoundClosed) -> None:
        """The server's word on a round: a masked one ends with it, and what comes too late is let go."""
        if closed.round != self.round or not self._go(Event.CLOSE):
            return
        self._inbox.put_nowait(None)
        if closed.verdict in ("late", "absent"):
            self.stop()

    def stop(self) -> None:
        """Let go of what is under way."""
        if self._go(Event.STOP) and self.task is not None:
            self.task.cancel()

    async def end(self) -> None:
        """Let go of it, and wait until it is gone."""
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task

    async def _work(self, session: SessionContext, job: Job) -> None:
        number, send = job_number(job), self._ctx.send
        try:
            self._availability.check(job.seconds_left)
            done = await do_job(self._ctx, session, job, self._inbox)
            if isinstance(done, EvaluationReport):
                send(done)
        except StaleRound as error:
            log.info("round %d went on without this client: %s", number, error)
            if error.reason in SITS_OUT:  # of a round that goes on: nobody need wait for it
                send(JobUpdate(number, "refused", error.reason, str(error)))
        except TrainerError as error:
            log.error("local training failed: %s", error)
            all_shown = session.rules.policy.server_sees == MODES[-1]
            told = str(error) if all_shown else "local training failed; see the client's log"
            send(JobUpdate(number, "failed", error.reason, told))  # words may tell of the data
        except RoughfedError as error:
            if isinstance(error, ModeRefused):
                await self._mode.refuse(error)
            log.error("round %d: %s", number, error)
            send(JobUpdate(number, "refused", error.reason, str(error)))
        except Exception:  # the outer loop: a bug in one job must not end the client, nor leave the server waiting
            log.exception("round %d: a bug in this client", number)
            send(JobUpdate(number, "failed", "internal", "internal error; see the client's log"))
        finally:
            self._ctx.enter("idle", 0.0)
