"""The signed header of a round, and what the jobs and the statistics of a round say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roughfed.errors import ConfigError, RemoteProtocolError
from roughfed.masked_round import maskings_of
from roughfed.secagg.statistics import add
from roughfed.server.cohort.statistics import Facts, Shape, asked, facts_of, wanted_facts
from roughfed.server.context.server import ServerContext
from roughfed.server.storage.lineage import DEFAULT
from roughfed.server.storage.store import RoundRow
from roughfed.types import RoundHeader, Signed
from roughfed.wire.session import HEADER_DOMAIN, decode_header, encode_header, job_digest

MOST_COUNTED = 1000
"""With more classes, a count of each in every statement is too much to ask for the sake of a report."""


def make_header(
    ctx: ServerContext,
    *,
    after: RoundRow | None,
    fields: Mapping[str, Any],
    facts: Facts | None = None,
    train: bool = True,
    cluster: str = DEFAULT,
) -> Signed:
    """The header of a round that follows `after`, on a cluster's newest model, under the server's identity key.

    `fields`: number of the round, root of the roster, deadline, and what a masked round says beside (`masked.opening`).
    """
    head = ctx.store.lineage.head(cluster)
    evaluate = evaluates(ctx, ctx.extensions.schedule.place(fields["round"], cluster), train=train)
    chosen_among = ctx.config.clusters.chosen_among
    header = RoundHeader(
        run=ctx.run,
        model_digest=head.digest,
        model_version=head.version,
        spec_digest=ctx.spec.digest,
        previous_header_digest=after.header.digest if after else bytes(32),
        codec=ctx.config.codec.uplink(ctx.config.privacy.server_sees),
        server_sees=ctx.config.privacy.server_sees,
        job_digest=job_digest(trainer_settings(ctx), evaluate=evaluate, facts=facts or {}, base=ctx.base),
        heads=tuple(each.digest for each in ctx.store.lineage.heads().values()) if chosen_among else (),
        **fields,
    )
    body = encode_header(header)
    with ctx.work.time("sign"):
        signature = ctx.identity.key.sign(HEADER_DOMAIN, body)
    return Signed(body, signature, ctx.identity.name)


def evaluates(ctx: ServerContext, number: int, *, train: bool = True) -> bool:
    """Whether the clients of a cluster's n-th round evaluate its base model."""
    every = ctx.config.round.evaluate_every
    return not train or (every > 0 and (number - 1) % every == 0)


def trainer_settings(ctx: ServerContext) -> Mapping[str, object]:
    """The learning settings that every client gets."""
    return ctx.config.trainer.model_dump()


def statistics_of(ctx: ServerContext, number: int, cluster: str = DEFAULT) -> tuple[str, ...]:
    """The statistics that the learning settings ask for in a round; in the clear, class counts beside (reports)."""
    settings, shape = ctx.config.trainer, Shape.of(ctx.spec, ctx.num_classes)
    place = ctx.extensions.schedule.place(number, cluster)
    names = asked(settings, shape, number=place, rounds=ctx.config.round.rounds)
    names = tuple(dict.fromkeys((*names, *ctx.extensions.statistics(place, cluster))))
    if ctx.config.privacy.masked or not 0 < shape.classes <= MOST_COUNTED:
        return names  # masked rounds ask for them anyway (`masked.opening`)
    return tuple(dict.fromkeys((*names, f"class-count:{shape.classes}")))


def facts_for(ctx: ServerContext, number: int, cluster: str) -> Facts:
    """The facts of a round; journaled with it."""
    wanted = wanted_facts(ctx.config.trainer)
    statics = add(ctx.store.statics()) if wanted else {}
    facts = facts_of(wanted, statics, ctx.store.sums_with, planned=ctx.config.round.rounds)
    schedule = ctx.extensions.schedule.fact(number, cluster)
    return {**facts, **ctx.extensions.facts(number, cluster), **schedule}


def check_terms(ctx: ServerContext, header: Signed) -> None:
    """A masked round that cannot be must not be journaled: every start would end at it.

    Raises:
        ConfigError: the settings do not fit the model.
    """
    try:
        maskings_of(header, decode_header(header.body), spec=ctx.spec, server_key=ctx.identity.key.public_key)
    except RemoteProtocolError as error:
        raise ConfigError(
            f"no masked round fits this model of {ctx.spec.size} parameters and {ctx.num_classes} classes: {error}",
            key="sketch.dim",
            cure='choose a smaller sketch.dim or a larger codec.fraction, or set privacy.server_sees to "updates"',
        ) from None
