"""`roughfed plan`: what a fed.toml means, before anything runs. Pure; `plan_table.render` draws it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

from roughfed.config import FederationConfig, check_federation
from roughfed.config.planned import TABLES
from roughfed.config.problems import conflict, refusal
from roughfed.config.schema import Key, keys_of
from roughfed.deploy.plan_bytes import RoundTraffic, chain, traffic
from roughfed.deploy.plan_groups import Grouping, grouping
from roughfed.deploy.plan_sums import StatisticBytes, sums
from roughfed.deploy.plan_tiers import TierPlan, tier_plans, tier_warnings
from roughfed.deploy.plan_words import not_protected, sees, warnings
from roughfed.errors import ConfigError
from roughfed.masked_round import CODES_A_NUMBER
from roughfed.secagg.groups import SMALLEST
from roughfed.server.cohort.statistics import Shape
from roughfed.server.defence.check import check_rule
from roughfed.server.defence.plan import tolerated
from roughfed.types import Spec

NOBODY: Mapping[str, int] = MappingProxyType({})
EXAMPLES = (2, 4, 8, 16, 100)


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting as it will be used: dotted key, value as TOML, and where it comes from."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Turnout:
    """A round with so many connected clients.

    Attributes:
        connected: clients that are there.
        starts: whether the server opens a round at all (`FederationConfig.clients_to_start`).
        waiting: what it says while it does not; empty otherwise.
        invited: clients that get the job.
        goal: updates that close the round.
        quorum: updates that are enough at the deadline; 4 or more when masked.
        tolerated: invited clients that may fail without voiding the round.
        attackers: f, the clients of the goal that may be hostile; 0 without a defence.
        groups: who is added up with whom; None in the clear, or when it waits.
        traffic: bytes of one client; None when the size of the model is not known, or when it waits.
        download_bytes: sent to all of them, if they have the version before.
        upload_bytes: that reach the goal; late updates come on top.
        statistics: what rides behind each masked update, not counted above; None in the clear, when it waits, or when
            the model is not known.
    """

    connected: int
    starts: bool
    waiting: str
    invited: int
    goal: int
    quorum: int
    tolerated: int
    attackers: int
    groups: Grouping | None
    traffic: RoundTraffic | None
    download_bytes: int | None
    upload_bytes: int | None
    statistics: StatisticBytes | None = None


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What `roughfed plan` says.

    Attributes:
        settings: every setting, in the order of the file.
        server_sees: what the server learns about a client, in words.
        not_protected: what the mode does not protect, in words.
        turnouts: rounds with an example number of clients, or with those connected.
        size: parameters of the model, D; None when not known.
        refused: settings that this version refuses by name, each with the reason.
        warnings: what works and is probably not meant.
        tiers: of clients, the standard one first; none where there are no others.
    """

    settings: tuple[Effective, ...]
    server_sees: str
    not_protected: tuple[str, ...]
    turnouts: tuple[Turnout, ...]
    size: int | None
    refused: dict[str, str]
    warnings: tuple[str, ...]
    tiers: tuple[TierPlan, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Plain data, for `--json`."""
        return asdict(self)


def plan(
    config: FederationConfig,
    *,
    connected: int | None = None,
    size: int | None = None,
    shape: Shape | None = None,
    spec: Spec | None = None,
    of_tier: Mapping[str, int] = NOBODY,
) -> RunPlan:
    """Work out what the settings mean.

    Args:
        config: the loaded settings.
        connected: clients that are connected now; None = a few example numbers.
        size: parameters of the model, D, if known.
        shape: tiers and features of the model, if known.
        spec: tensors of the model, if known.
        of_tier: clients of a tier ("" is the standard one), where somebody names them.

    Raises:
        SettingsRefused: the settings cannot work together.
        ConfigError: they ask for sums that the model cannot give, or a tier of clients that there is not.
    """
    if unknown := of_tier.keys() - {"", *config.tiers}:
        known = ", ".join(config.tiers) or "none"
        raise ConfigError(f"there is no tier {min(unknown)!r} in fed.toml", key="--of", cure=f"its tiers: {known}")
    check_federation(config)
    check_rule(config)
    numbers = (connected,) if connected is not None else sorted({config.round.min_clients, *EXAMPLES})
    turnouts = tuple(
        _turnout(config, n, size, shape) for n in numbers if n >= config.round.min_clients or connected is not None
    )
    tiers = tier_plans(config, of_tier, size=size, spec=spec)
    return RunPlan(
        settings=tuple(_effective(config)),
        server_sees=sees(config),
        not_protected=not_protected(config),
        turnouts=turnouts,
        size=size,
        refused=dict(_refused()),
        warnings=(*warnings(config, turnouts, size), *tier_warnings(tiers)),
        tiers=tiers,
    )


def _turnout(config: FederationConfig, connected: int, size: int | None, shape: Shape | None) -> Turnout:
    """The numbers of one round; the server takes them from the same methods of the settings."""
    r, masked = config.round, config.privacy.masked
    defended = config.defence.rule_of(config.privacy.server_sees) != "none"
    goal, invited = r.goal(connected), r.invited(connected)
    quorum = max(r.needed(goal), SMALLEST if masked else 1)
    starts = connected >= config.clients_to_start
    groups = grouping(config, invited) if masked and starts else None
    if groups and size is not None:
        _check_sketch(config, size, groups)
    moved = traffic(config, size, invited=invited, groups=groups) if size is not None and starts else None
    return Turnout(
        connected=connected,
        starts=starts,
        waiting="" if starts else config.waiting(connected),
        invited=invited,
        goal=goal,
        quorum=quorum,
        tolerated=max(0, invited - quorum),
        attackers=tolerated(config.defence.f, goal) if defended else 0,
        groups=groups,
        traffic=moved,
        download_bytes=moved and (moved.model + moved.stages_down) * invited,
        upload_bytes=moved and (moved.update + moved.stages_up) * goal,
        statistics=sums(config, shape, groups) if groups and shape is not None else None,
    )


def _check_sketch(config: FederationConfig, size: int, groups: Grouping) -> None:
    """Refuse a sketch of so many numbers that it says nearly all that is sent."""
    sent, dim = min(chain(config, size, groups).sent, size), config.sketch.dim
    if config.privacy.server_sees == "sketches" and dim * CODES_A_NUMBER > sent:
        cause = f"sketch.dim = {dim} is too much for the {sent} codes of a model with {size} parameters."
        cure = 'Lower sketch.dim, raise codec.fraction, or write server_sees = "sums" in [privacy].'
        raise refusal([conflict(config, ("sketch.dim", "codec.fraction"), cause, cure)])


def _effective(config: FederationConfig) -> Iterator[Effective]:
    for key in keys_of(FederationConfig).values():
        value = getattr(getattr(config, key.table), key.name)
        origin = str(config.origin(key.dotted))
        if key.dotted == "round.min_clients" and config.clients_to_start > value:  # refused where somebody wrote it
            origin, value = f"{origin} {value}; fewer would not hide each other", config.clients_to_start
        yield Effective(key.dotted, key.spell(value), origin)
    for name, settings in config.tiers.items():
        for field, info in type(settings).model_fields.items():
            key, origin = Key(f"tiers.{name}", field, info), config.origin(f"tiers.{name}")
            yield Effective(key.dotted, key.spell(getattr(settings, field)), str(origin))


def _refused() -> Iterator[tuple[str, str]]:
    yield from ((f"[{table}]", sentence) for table, sentence in TABLES.items())
