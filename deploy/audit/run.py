"""The audit from end to end."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from roughfed.deploy.audit.habits import habit_curves
from roughfed.deploy.audit.options import AuditOptions, warning
from roughfed.deploy.audit.regression import Curve, static_curve, static_schedules
from roughfed.deploy.audit.result import AuditResult
from roughfed.deploy.audit.trials import TrialTally, attacks_of, run_trials
from roughfed.deploy.audit.victim import open_data
from roughfed.rng import generator

STATIC_VALUES = 10
"""As class counts of ten classes."""

Progress = Callable[[int, int, str], None]
"""Told (done, of how many, what comes next)."""


def run_audit(options: AuditOptions, progress: Progress) -> AuditResult:
    """Attack what each mode shows.

    Args:
        options: what and how long.
        progress: told before each part.

    Raises:
        ConfigError: unknown data or model, or a sketch larger than the model.
    """
    data, knowledge = open_data(options.source, options.data_dir, options.seed)
    plan = attacks_of(options)
    parts = len(plan) + 2
    words = [f"inverting: {mode}, batch of {batch}, trial {trial + 1}" for trial, batch, mode, _ in plan]
    progress(0, parts, words[0])
    tally = TrialTally()
    attacks = run_trials(options, data, knowledge, tally, entropy=secrets.token_bytes)
    for done, _ in enumerate(attacks, start=1):
        progress(done, parts, [*words, "solving for static values"][done])
    statics = static_curves(options)
    progress(parts - 1, parts, "solving for mean updates")
    habits = habit_curves(
        clients=options.clients,
        dim=options.dim,
        rounds=options.rounds,
        seed=options.seed,
        entropy=secrets.token_bytes,
    )
    progress(parts, parts, "done")
    return AuditResult(
        data=options.source,
        model=options.model,
        dim=options.dim,
        group=options.group,
        trials=options.images,
        clients=options.clients,
        warning=warning(options.dim, len(knowledge.mean)),
        inversions=tally.inversions(),
        pictures=sorted(tally.pictures, key=lambda picture: picture.batch),
        statics=statics,
        habits=habits,
    )


def static_curves(options: AuditOptions) -> list[Curve]:
    """The regression on static values, such as class counts: uneven, as those of clients are."""
    draws = generator(options.seed, "audit", "static").exponential(100, size=(options.clients, STATIC_VALUES))
    values = draws.round()
    schedules = static_schedules(options.clients, options.seed)
    return [static_curve(name, schedule, values, options.rounds) for name, schedule in schedules.items()]
