"""Tiers of clients in a round: who belongs to which, which of them are large enough, and what the header says of them.

A tier that is too small for a sum of its own, or for the defence, takes no part: its clients are not asked, and told
why, or join the standard tier if they agreed to (`policy.standard_if_few`). That is decided before the header is
signed, from what the clients said at hello; the header lists the tiers that take part, so everything later follows
from it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from roughfed.codec.plan import plan_subset
from roughfed.config.federation import FederationConfig
from roughfed.errors import ConfigError, RemoteProtocolError
from roughfed.masked_round import CODES_A_NUMBER
from roughfed.messages import Hello
from roughfed.secagg.groups import SMALLEST
from roughfed.server.cohort.sampling import Order, choose
from roughfed.server.defence.check import too_few
from roughfed.server.defence.plan import rule_of
from roughfed.tiers import STANDARD, named, ranges_of, tier_in_round
from roughfed.types import ClientTier, RoundHeader, Spec

log = logging.getLogger(__name__)

MANY = 1000


@dataclass(frozen=True)
class TierAssignment:
    """Who takes part as what.

    Attributes:
        tiers: client -> tier, of everybody who can be asked.
        few: tier -> in words, why it takes no part.
        standing: client -> the same, of everybody who takes no part.
    """

    tiers: Mapping[str, str]
    few: Mapping[str, str] = field(default_factory=dict[str, str])
    standing: Mapping[str, str] = field(default_factory=dict[str, str])

    def of(self, name: str, among: Iterable[str] | None = None) -> list[str]:
        """The clients of a tier, sorted."""
        return sorted(c for c in (self.tiers if among is None else among) if self.tiers[c] == name)


def fewest(config: FederationConfig, clients: int) -> int:
    """Clients that a tier needs, as far as it is from it: `clients` itself where it is large enough."""
    rule_name = config.defence.rule_of(config.privacy.server_sees)
    rule = None if rule_name == "none" else rule_of(rule_name)
    least = max(clients, SMALLEST if config.privacy.masked else 1)
    return next((n for n in range(least, MANY) if rule is None or not too_few(config, rule, n)), MANY)


def assign_tiers(config: FederationConfig, hellos: Mapping[str, Hello]) -> TierAssignment:
    """Seat the clients that could be asked.

    Args:
        config: the settings.
        hellos: what each of them said first.
    """
    if not config.tiers:
        return TierAssignment(dict.fromkeys(hellos, STANDARD))
    tiers = {name: hello.tier for name, hello in hellos.items()}
    few: dict[str, str] = {}
    standing: dict[str, str] = {}
    for name in (*config.tiers, STANDARD):  # whoever falls back to the standard tier counts in it
        members = [client for client, place in tiers.items() if place == name]
        if not members or (needed := fewest(config, len(members))) <= len(members):
            continue
        few[name] = f"too few of {named(name)}: {len(members)} of {needed}"
        for client in members:
            if name != STANDARD and hellos[client].standard_if_few:
                tiers[client] = STANDARD
            else:
                standing[client] = few[name]
                del tiers[client]
    return TierAssignment(tiers, few, standing)


def drawn(
    assignment: TierAssignment, *, invited: int, seed: int, round_number: int, order: Order | None = None
) -> tuple[str, ...]:
    """The cohort: of each tier its share of those who are invited, and enough of each for a sum.

    Without tiers as `sampling.choose` draws.
    """
    by_tier = {name: assignment.of(name) for name in sorted(set(assignment.tiers.values()))}
    if len(by_tier) <= 1 or invited >= len(assignment.tiers):
        return choose(list(assignment.tiers), invited=invited, seed=seed, round_number=round_number, order=order)
    cohort: list[str] = []
    for name, clients in by_tier.items():
        share = -(-invited * len(clients) // len(assignment.tiers))
        wanted = min(len(clients), max(share, SMALLEST))
        cohort += choose(clients, invited=wanted, seed=seed, round_number=round_number, order=order)
        log.debug("%s: %d of %d asked", named(name), wanted, len(clients))
    return tuple(sorted(cohort))


def plaintext_tiers(
    config: FederationConfig, assignment: TierAssignment, cohort: Sequence[str]
) -> tuple[ClientTier, ...]:
    """What a header says of the tiers where nothing is masked."""
    codec = config.codec.uplink(config.privacy.server_sees)
    open_ones = {assignment.tiers[client] for client in cohort}
    return tuple(
        ClientTier(
            name,
            plan_subset(settings.fraction),
            settings.tensors,
            codec=codec if settings.fraction == 1 else "identity",
        )
        for name, settings in config.tiers.items()
        if name in open_ones
    )


def offered(config: FederationConfig) -> tuple[ClientTier, ...]:
    """What a welcome says of the tiers."""
    return tuple(
        ClientTier(name, plan_subset(settings.fraction), settings.tensors) for name, settings in config.tiers.items()
    )


def waiting_for(config: FederationConfig, hellos: Mapping[str, Hello]) -> str:
    """Why no round can begin with these clients: no tier has enough of them; empty when one has."""
    assignment = assign_tiers(config, hellos)
    return "" if assignment.tiers else "waiting: " + "; ".join(assignment.few.values())


def check_hello(config: FederationConfig, hello: Hello) -> None:
    """Refuse a client of a tier that there is not.

    Raises:
        RemoteProtocolError: reason "class".
    """
    if hello.tier not in (STANDARD, *config.tiers):
        known = ", ".join(config.tiers) or "none beside the standard one"
        raise RemoteProtocolError(
            f"this federation has no tier {hello.tier!r} (client.toml, policy.tier); it has {known}",
            reason="class",
        )


def check_tiers(config: FederationConfig, spec: Spec) -> None:
    """Hold the tiers against the model, before the first round.

    Raises:
        ConfigError: one of them trains nothing that is learned, or a pattern of its means nothing here.
    """
    from roughfed.tiers import part_of

    names = ", ".join(t.name for t in spec.tensors[:12])
    for name, settings in config.tiers.items():
        key = f"tiers.{name}"
        for pattern in settings.tensors:
            if not ranges_of(spec, (pattern,)):
                cause = f"{pattern!r} of tier {name} matches no tensor that clients send"
                raise ConfigError(cause, key=key, cure=f"their names: {names}")
        part = part_of(spec, settings.tensors)
        if not any(t.kind == "parameter" for t in part.tensors):
            raise ConfigError(f"tier {name} trains no parameter", key=key, cure=f"name some of these: {names}")
        dim, sent = settings.sketch_dim or config.sketch.dim, part.size // plan_subset(settings.fraction)
        if config.privacy.server_sees == "sketches" and dim * CODES_A_NUMBER > sent:
            cause = f"tier {name} sends {sent} coordinates, too few for the {dim} numbers that the server sees of them"
            raise ConfigError(cause, key=key, cure=f"write sketch_dim = {max(2, sent // 16 * 2)} there, or less")


def tier_of_client(config: FederationConfig, header: RoundHeader, hello: Hello) -> str | None:
    """The tier as which a client takes part in a round; None where it takes no part any more."""
    if not config.tiers:
        return STANDARD
    try:
        return tier_in_round(header, hello.tier, standard_if_few=hello.standard_if_few)
    except RemoteProtocolError:
        return None
