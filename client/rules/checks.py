"""What a client demands of a job before it does anything for it: its own rules, held against the server."""

from __future__ import annotations

from roughfed import codec
from roughfed.adapters import divided_like
from roughfed.client.disclosure.limits import check_levels, check_numbers
from roughfed.client.disclosure.record import DisclosureRecord
from roughfed.client.members.credential_files import Credentials
from roughfed.client.policy import Rules
from roughfed.client.rules.epochs import check_epoch, record_epoch
from roughfed.client.rules.tier_selection import check_offer, select_tier
from roughfed.client.storage.store import ClientStore
from roughfed.codec.clip_schedule import check_step
from roughfed.compatibility import spoken
from roughfed.config.client import ClientConfig
from roughfed.crypto.identity import verify
from roughfed.errors import ConfigError, IdentityError, ModeRefused, RemoteProtocolError
from roughfed.messages import Seen, Welcome
from roughfed.mode import shows_more
from roughfed.params import explain_difference
from roughfed.secagg.groups import SMALLEST
from roughfed.shared_tensors import has_controls, shared_spec
from roughfed.trainer_client import Description
from roughfed.types import Job, RoundHeader
from roughfed.wire.session import HEADER_DOMAIN, decode_header, job_digest

CODECS = (*codec.CODECS, codec.CHAIN)
"""What this client can produce."""


def check_name(config: ClientConfig, credentials: Credentials) -> None:
    """client.toml must be the one of this enrolment, if it names one.

    Raises:
        ConfigError: it names another client.
    """
    if config.client.name not in ("", credentials.name):
        raise ConfigError(
            f"this directory is enrolled as {credentials.name}, client.toml is {config.client.name}'s",
            file=str(credentials.folder),
            key="client.name",
            cure=f'set client.name = "{credentials.name}", or use the directory of {config.client.name}',
        )


def check_app(welcome: Welcome, description: Description) -> None:
    """Hold the federation's model against the own one: names and shapes are compared here, where they can be explained.

    Raises:
        ConfigError: another model or frozen base, a pattern of private tensors that means nothing here, or another
            task.
    """
    controls = has_controls(welcome.spec)  # a trainer has them where the job's method asks for them
    base = None if welcome.base is None else welcome.base.spec
    rest, frozen = divided_like(description.spec, description.adaptable, welcome.spec, base)
    own = shared_spec(rest, private=welcome.private, controls=controls)
    differences = explain_difference(own, welcome.spec)
    if base is not None and frozen is not None:
        differences += explain_difference(frozen, base)
    if differences:
        raise ConfigError(
            "this client's model is not the federation's: " + "; ".join(differences),
            key="app",
            cure="use the federation's model, or ask for its code",
        )
    if welcome.task != description.task:
        raise ConfigError(f"this client's task is {description.task}, the federation's {welcome.task}", key="app")


def check_welcome(welcome: Welcome, rules: Rules) -> None:
    """May this client take part in this run at all?

    Raises:
        VersionError: the server is too old.
        ModeRefused: the run shows the server more than this client allows.
        RemoteProtocolError: reason "policy"; its model is larger than this client downloads.
    """
    spoken(welcome.protocol, who="server", software=welcome.software)
    check_mode(welcome.server_sees, welcome.run, rules)
    whole = welcome.spec.size_bytes + (0 if welcome.base is None else welcome.base.spec.size_bytes)
    if whole > rules.policy.max_model_bytes:
        raise RemoteProtocolError(
            f"the model has {whole} bytes, this client downloads at most {rules.policy.max_model_bytes} "
            "(client.toml, policy.max_model_bytes)",
            reason="policy",
        )
    check_offer(welcome, rules)


def check_mode(server_sees: str, run: str, rules: Rules) -> None:
    """A mode that shows less is always fine; one that shows more never is.

    Raises:
        ModeRefused: it shows more than this client does, or is none that is known.
    """
    if shows_more(server_sees, rules.policy.server_sees):
        raise ModeRefused(asked=server_sees, held=rules.policy.server_sees, run=run)


async def check_header(
    job: Job, welcome: Welcome, *, server_key: bytes, rules: Rules, store: ClientStore, disclosed: DisclosureRecord
) -> RoundHeader:
    """Hold a job's header against the run, the policy and the chain; note it before anything is done for it.

    Returns:
        the header as the tier of clients reads it in which this one takes part.

    Raises:
        IdentityError: the server did not sign it.
        RemoteProtocolError: another run or model, a mode or codec that this client refuses, a number used twice, or
            a chain that does not continue the one this client saw.
    """
    verify(server_key, HEADER_DOMAIN, job.header.body, job.header.signature)
    header = decode_header(job.header.body)
    check_job(job, header, welcome, rules)
    last = store.chain(header.run)
    if last is not None:
        check_chain(header, job.header.digest, last)
    await disclosed.enter(header.run, header.spec_digest, allowed=rules.runs)
    if job.train:
        if store.forgotten(header.run, header.round):
            raise RemoteProtocolError(
                f"round {header.round} of {header.run} has this client's update, and another run came since, or this "
                "directory was restored: answered again it would be shown twice and counted once",
                reason="stale",
            )
        header = select_tier(job, header, welcome, rules)
        if header.masked:
            check_masked(header, rules=rules, store=store, disclosed=disclosed)
        clip, seen = (header.tier, header.clip_norm), Seen(job.header, welcome.server)
        await store.extend_chain(header.run, header.round, job.header.digest, clip=clip, seen=seen)
        if header.masked:
            await record_epoch(store, header, header.epoch_beacon)
    return header


def check_job(job: Job, header: RoundHeader, welcome: Welcome, rules: Rules) -> None:
    """Is the job the one of its header, and of the run that was agreed on?

    Raises:
        ModeRefused: a mode that shows the server more than this client does.
        RemoteProtocolError: another run or model, a mode or codec that was not agreed on, settings of its own.
    """
    if header.run != welcome.run or header.spec_digest != welcome.spec.digest:
        raise RemoteProtocolError("the job is for another run or another model", reason="header")
    check_mode(header.server_sees, header.run, rules)
    if header.server_sees != welcome.server_sees:
        raise RemoteProtocolError(f"server_sees = {header.server_sees!r} was not agreed on", reason="policy")
    if header.codec not in CODECS or header.masked != (header.codec == codec.CHAIN):
        raise RemoteProtocolError(f"codec {header.codec!r} is not known here", reason="codec")
    if header.job_digest != job_digest(job.trainer, evaluate=job.evaluate, facts=job.facts, base=welcome.base):
        raise RemoteProtocolError(
            "the job's settings, or the frozen base, are not those that the header gives to everybody", reason="job"
        )
    if header.masked and not job.train:
        raise RemoteProtocolError("in a masked run nobody's evaluation is told alone", reason="policy")
    if job.model_bytes != welcome.spec.size_bytes:
        raise RemoteProtocolError(f"a model of {job.model_bytes} bytes was not agreed on", reason="size")


def check_masked(header: RoundHeader, *, rules: Rules, store: ClientStore, disclosed: DisclosureRecord) -> None:
    """What a masked round may ask of this client.

    Raises:
        RemoteProtocolError: more of a sketch than the policy shows, or a leap of the clip norm.
        IdentityError: another beacon than the one that this client has seen.
    """
    if header.sketch_dim > rules.policy.max_sketch_dim:
        raise RemoteProtocolError(
            f"a sketch of {header.sketch_dim} numbers, this client shows {rules.policy.max_sketch_dim} "
            "(client.toml, policy.max_sketch_dim)",
            reason="policy",
        )
    check_numbers(disclosed.numbers(header), header.sketch_dim, most=rules.policy.max_sketch_numbers)
    check_levels(header.levels, SMALLEST, most=rules.policy.max_levels)  # and again when the group is known
    if (before := store.clip_norm(header.run, header.tier)) is not None and before[0] != header.round:
        check_step(before, (header.round, header.clip_norm))
    check_epoch(store, header)


def used_up(store: ClientStore, max_rounds: int) -> bool:
    """Has this client noted updates for as many rounds as it may?"""
    return 0 < max_rounds <= len(store.rounds_used())


def check_rounds(header: RoundHeader, *, rules: Rules, store: ClientStore) -> None:
    """May this client train for this round? A round that it noted an update for before counts once.

    Raises:
        RemoteProtocolError: reason "policy"; the limit is reached.
    """
    if used_up(store, rules.policy.max_rounds) and (header.run, header.round) not in store.rounds_used():
        raise RemoteProtocolError(
            f"this client takes part in {rules.policy.max_rounds} rounds (client.toml, policy.max_rounds)",
            reason="policy",
        )


def check_chain(header: RoundHeader, digest: bytes, last: tuple[int, bytes]) -> None:
    """One header for each round number, each naming the one before.

    Raises:
        RemoteProtocolError: an older round. IdentityError: two headers for one round, or a forked chain.
    """
    number, known = last
    if header.round < number:
        raise RemoteProtocolError(f"round {header.round} after round {number}", reason="stale")
    if header.round == number and digest != known:
        raise IdentityError(f"the server signed two headers for round {number}", reason="two-headers")
    if header.round == number + 1 and header.previous_header_digest != known:
        raise IdentityError(f"the header of round {header.round} does not follow the one seen before", reason="chain")


def job_number(job: Job) -> int:
    """The round a job is for, for the log; the header is checked later."""
    try:
        return decode_header(job.header.body).round
    except RemoteProtocolError:
        return 0
