"""One job: its header is held against this client's rules, then its steps are done."""

from __future__ import annotations

import time

from roughfed import crash
from roughfed.client.context import ClientContext, Inbox, RoundTask, SessionContext
from roughfed.client.round.download import fetch_model
from roughfed.client.round.masked import run_masked
from roughfed.client.round.plain import PlainSteps
from roughfed.client.round.steps import evaluate_models, run_steps
from roughfed.client.rules.checks import check_header
from roughfed.logs import in_round
from roughfed.messages import EvaluationReport
from roughfed.types import Evaluation, Job, Receipt


async def do_job(
    ctx: ClientContext, session: SessionContext, job: Job, inbox: Inbox
) -> Receipt | EvaluationReport | None:
    """Do one job.

    Args:
        ctx: of the process.
        session: in which the job came.
        job: as the server sent it.
        inbox: what the server says during a masked round.

    Returns:
        the server's receipt, None when a masked update came too late, or (evaluation only) what to report.

    Raises:
        RemoteProtocolError, IdentityError: the job breaks a rule of this client; it is refused.
        TrainerError: local training failed.
        StaleRound: the round goes on without this client.
    """
    ends_at = time.monotonic() + job.seconds_left
    with ctx.metrics.crypto("verify"):
        header = await check_header(
            job,
            session.welcome,
            server_key=session.server_key,
            rules=session.rules,
            store=ctx.store,
            disclosed=session.disclosed,
        )
    await ctx.on_header(header)
    in_round(header.run, header.round)
    ctx.metrics.round_begun(header.round)
    crash.point("job-accepted")
    task = RoundTask(ctx, session, job, header, ends_at, inbox)
    if not job.train:
        return await report_evaluation(task)
    if header.masked:
        return await run_masked(task)
    return await run_steps(task, PlainSteps(task))


async def report_evaluation(task: RoundTask) -> EvaluationReport:
    """Evaluate and train nothing."""
    found = await evaluate_models(task, await fetch_model(task))
    base = found.base or Evaluation(task.header.model_digest, 0, 0.0)
    return EvaluationReport(task.header.round, base, found.personal, found.alone)
