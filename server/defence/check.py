"""What `[defence]` and the other settings cannot do together: refused before round 1, with ways out that were tried.

One question for each pair of options. Whatever it finds names both, and offers only settings with which nothing of this
kind, and nothing that `check_federation` looks at, is wrong any more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from pydantic import BaseModel

from roughfed.codec import CODECS
from roughfed.config.conflicts import check_federation
from roughfed.config.conflicts.modes import MODE, written
from roughfed.config.federation import FederationConfig
from roughfed.config.problems import Problem, SettingsRefused, conflict, refusal
from roughfed.config.values import show
from roughfed.registry import look_up
from roughfed.secagg.groups import SMALLEST, group_sizes
from roughfed.server.defence import RULES
from roughfed.server.defence.plan import ROWS, rows_needed, rule_of, tolerated
from roughfed.server.defence.rule import ROOT, Rule

RULE, F, ROOT_KEY = "defence.rule", "defence.f", "defence.root"
REMOVE = object()
"""In a way out: the key goes back to its default."""

MANY = 1000
"""Rounds of up to so many clients are looked at."""

OFFERED = ("default", "multi-krum", "none")
"""Other rules that a way out may name, in this order."""

Way = dict[str, object]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What does not fit.

    Attributes:
        keys: of the options, the one to blame first.
        cause: one sentence.
        ways: changes that may help, the best first; those that do not are not offered.
    """

    keys: tuple[str, ...]
    cause: str
    ways: Sequence[Way] = ()


def check_rule(config: FederationConfig) -> None:
    """Refuse what cannot work, or would be no defence, before a server starts.

    Raises:
        SettingsRefused: lists every conflict, under the key that was set (both keys are named in the cause).
        ConfigError: `defence.rule` is none of the table's, and no package brings it, or not properly.
    """
    if problems := list(defence_problems(config)):
        raise refusal(problems)


def defence_problems(config: FederationConfig) -> Iterator[Problem]:
    """The same as problems, for `check_federation` to list beside the others."""
    name = config.defence.rule_of(config.privacy.server_sees)
    rules = RULES | {name: rule_of(name)}  # what packages bring is looked for once
    for wrong in _wrong(config, rules):
        cure = ", or ".join(map(_spelt, _tried(config, wrong, rules)))
        yield conflict(config, wrong.keys, wrong.cause, f"{cure[:1].upper()}{cure[1:]}.")


# -- what is wrong ---------------------------------------------------------------------------------------------------


def _wrong(config: FederationConfig, rules: Mapping[str, Rule]) -> Iterator[Mismatch]:
    name = config.defence.rule_of(config.privacy.server_sees)
    rule = look_up(rules, name, key=RULE)
    if name == "none":
        yield from _root(config, rule)
        return
    blind = list(_blind(config, rule))
    yield from blind
    if blind:
        return
    for question in (_votes, _classes, _root, _weights, _nobody, _numbers, _quorum):
        yield from question(config, rule)


def _blind(config: FederationConfig, rule: Rule) -> Iterator[Mismatch]:
    """Rows that the rule cannot judge."""
    sees = config.privacy.server_sees
    modes: list[Way] = [{MODE: other} for other in ("sketches", "updates", "sums") if other != sees]
    if ROWS[sees] not in rule.sees:
        shown = {
            "sums": "means of groups and nothing of a single client",
            "sketches": "a few numbers of each update and not its coordinates",
            "updates": "whole updates",
        }[sees]
        yield Mismatch((RULE, MODE), f"{_rule(config)} cannot judge what {MODE} = {show(sees)} shows: {shown}.", modes)
    elif sees == "sums" and rule.remembers:
        cause = (
            f"{_rule(config)} remembers each row by name, and with {MODE} = {show(sees)} rows are groups, which are "
            "dealt anew."
        )
        yield Mismatch((RULE, MODE), cause, modes)


def _votes(config: FederationConfig, rule: Rule) -> Iterator[Mismatch]:
    """Coordinates that most clients say nothing of."""
    codec = CODECS.get(config.codec.uplink(config.privacy.server_sees))
    if codec is not None and codec.sparse and rule.gives == "coordinates":
        cause = (
            f"{_rule(config)} takes every coordinate of an update for a vote, and codec.name = "
            f"{show(config.codec.name)} sends few of them: the others are no zeros, they are not said."
        )
        yield Mismatch((RULE, "codec.name"), cause, [{"codec.name": "int8"}])


def _classes(config: FederationConfig, rule: Rule) -> Iterator[Mismatch]:
    """Clients of several tiers, whose means are merged by coordinate: a rule may only choose within each."""
    if not config.tiers or config.privacy.server_sees == "sketches" or rule.gives == "choice":
        return
    said = "works out each coordinate itself" if rule.gives == "coordinates" else "sets the weights itself"
    key = f"tiers.{next(iter(config.tiers))}"
    cause = f"{_rule(config)} {said}, and clients of [{key}] send other coordinates: the means are merged by those."
    yield Mismatch((RULE, key), cause)


def _root(config: FederationConfig, rule: Rule) -> Iterator[Mismatch]:
    """The server's own examples, which a rule needs, or nobody does."""
    root = config.defence.root
    if ROOT in rule.needs and not root:
        cause = (
            f"{_rule(config)} holds updates against one of the server's own examples, and {ROOT_KEY} = 0 gives none."
        )
        yield Mismatch((RULE, ROOT_KEY), cause, [{ROOT_KEY: 100}])
    if root and ROOT not in rule.needs | rule.wants:
        cause = f"{ROOT_KEY} = {root} has no effect: {_rule(config)} uses no examples of the server's."
        yield Mismatch((ROOT_KEY, RULE), cause, [{ROOT_KEY: REMOVE}])
    if root and config.model.private:
        cause = (
            f"{ROOT_KEY} = {root} needs a whole model at the server, and model.private keeps parts with the clients."
        )
        yield Mismatch((ROOT_KEY, "model.private"), cause, [{ROOT_KEY: REMOVE}, {"model.private": REMOVE}])


def _weights(config: FederationConfig, rule: Rule) -> Iterator[Mismatch]:
    """Weights that the rule sets itself."""
    if config.privacy.server_sees == "sketches" or rule.gives == "choice":
        return
    said = "works out each coordinate itself" if rule.gives == "coordinates" else "sets the weights itself"
    if config.trainer.scaffold:
        cause = f"{_rule(config)} {said}, and scaffold in trainer.method needs the mean of all that count."
        yield Mismatch((RULE, "trainer.method"), cause)
    if config.fairness.rule != "none":
        cause = f"fairness.rule = {show(config.fairness.rule)} weighs clients, and {_rule(config)} {said}."
        yield Mismatch(("fairness.rule", RULE), cause)
    if config.privacy.server_sees == "sums":
        return  # within a group, weight classes count
    if config.aggregate.weighting == "examples":
        cause = f'aggregate.weighting = "examples" has no effect: {_rule(config)} {said}.'
        yield Mismatch(("aggregate.weighting", RULE), cause, [{"aggregate.weighting": "auto"}])
    if config.trainer.self_weight:
        cause = f"trainer.self_weight = true has no effect: {_rule(config)} {said}."
        yield Mismatch(("trainer.self_weight", RULE), cause, [{"trainer.self_weight": False}])


def _nobody(config: FederationConfig, rule: Rule) -> Iterator[Mismatch]:
    """No attacker, and a rule against attackers."""
    if not written(config, RULE) and not written(config, F):
        return  # nobody asked for a defence: what "auto" does among so few is in the plan's warnings
    f, cohort = config.defence.f, config.round.cohort
    if f == 0:
        cause = f"{F} = {show(f)} expects no attacker, and {_rule(config)} is there to hold against some."
        yield Mismatch((F, RULE), cause, [{F: REMOVE}, {F: 1}])
    elif isinstance(cohort, int) and cohort and not tolerated(f, config.round.invited(cohort)):
        cause = (
            f"{F} = {show(f)} of round.cohort = {cohort} clients is less than one: {_rule(config)} would never leave "
            "anybody out."
        )
        needed = next((n for n in range(cohort, MANY) if tolerated(f, n) and not too_few(config, rule, n)), 0)
        grown: list[Way] = [{"round.cohort": needed}] if needed else []
        yield Mismatch((F, "round.cohort"), cause, [{F: 1}, *grown])


def _numbers(config: FederationConfig, rule: Rule) -> Iterator[Mismatch]:
    """Rounds that would start and never count."""
    if config.defence.f == 0:
        return  # said already
    short = [n for n in _connected(config) if too_few(config, rule, config.round.goal(n))]
    if not short:
        return
    clients, sees = config.round.goal(short[0]), config.privacy.server_sees
    f, few = tolerated(config.defence.f, clients), f"rounds of {clients} clients would start, and fail."
    against = f"{f} attacker{'s' * (f != 1)} ({F} = {show(config.defence.f)})"
    if sees == "sums":
        bound, rows = MODE, _rows(config, clients)
        against += f", {'who' if f == 1 else 'each of whom'} may be in any of them"
        few = f"{few.removesuffix('.')}: they have {rows} group{'s' * (rows != 1)}."
    else:
        bound = "round.cohort" if clients == config.round.cohort else "round.min_clients"
    table, _, name = bound.partition(".")
    cause = (
        f"{_rule(config)} needs {rows_needed(rule, f)} {'groups' if sees == 'sums' else 'clients'} to hold against "
        f"{against}, and with {bound} = {show(getattr(getattr(config, table), name))} {few}"
    )
    yield Mismatch((RULE, F, bound), cause, list(_more(config, rule, short[-1])))


def _more(config: FederationConfig, rule: Rule, last: int) -> Iterator[Way]:
    """More clients, fewer attackers, or rows that are clients; `last`: most connected clients that are too few."""
    connected, cohort, least = _connected(config), config.round.cohort, config.round.min_clients
    if last < connected[-1]:
        yield {"round.min_clients": last + 1}
    whole = cohort if isinstance(cohort, int) else 0
    if enough := next((n for n in range(whole, MANY) if whole and not too_few(config, rule, n)), 0):
        yield {"round.cohort": enough, "round.min_clients": max(enough, least)}
    fewer = changed(config, {F: 1})
    yield {F: 1}
    failing = [n for n in range(SMALLEST, MANY) if too_few(fewer, rule, n)]
    if enough := failing[-1] + 1 if failing else SMALLEST:
        larger: Way = {"round.cohort": max(enough, whole)} if whole else {}
        share = cohort if isinstance(cohort, float) else 1.0
        yield {F: 1, "round.min_clients": max(math.ceil(enough / share), least), **larger}
    yield {MODE: "sketches"}
    yield {MODE: "updates"}


def _quorum(config: FederationConfig, rule: Rule) -> Iterator[Mismatch]:
    """A number of updates that is said to be enough, and is not for the rule."""
    quorum, groups = config.round.quorum, config.privacy.server_sees == "sums"
    if not isinstance(quorum, int) or groups or config.defence.f == 0 or not too_few(config, rule, quorum):
        return
    f = tolerated(config.defence.f, quorum)
    cause = (
        f"round.quorum = {quorum} updates are too few for {_rule(config)}: against {f} "
        f"attacker{'s' * (f != 1)} ({F} = {show(config.defence.f)}) it needs {rows_needed(rule, f)}."
    )
    enough = next((n for n in range(quorum, MANY) if not too_few(config, rule, n)), quorum)
    more: Way = {"round.quorum": enough, "round.min_clients": max(enough, config.round.min_clients)}
    yield Mismatch((RULE, "round.quorum"), cause, [{"round.quorum": enough}, more, {"round.quorum": 0.8}])


def _connected(config: FederationConfig) -> range:
    """Numbers of connected clients with which rounds start; beyond a whole cohort nothing changes."""
    start, cohort = config.clients_to_start, config.round.cohort
    last = max(start, cohort) if isinstance(cohort, int) and cohort else max(start, MANY)
    return range(start, last + 1)


def _rows(config: FederationConfig, clients: int) -> int:
    """Rows of a round in which so many clients are."""
    return _groups(clients) if config.privacy.server_sees == "sums" and clients >= SMALLEST else clients


@cache
def _groups(clients: int) -> int:
    return len(group_sizes(clients))


def too_few(config: FederationConfig, rule: Rule, clients: int) -> bool:
    """Whether a rule cannot judge a round of so many clients: it would be void."""
    return _rows(config, clients) < rows_needed(rule, tolerated(config.defence.f, clients))


def _rule(config: FederationConfig) -> str:
    name, rule = config.defence.rule, config.defence.rule_of(config.privacy.server_sees)
    return f"{RULE} = {show(name)}" if name == rule else f"{RULE} = {show(name)} ({rule})"


# -- ways out --------------------------------------------------------------------------------------------------------


def changed(config: FederationConfig, way: Way) -> FederationConfig:
    """The settings with other values for some keys, as if somebody had written them."""
    tables: dict[str, BaseModel] = {}
    for dotted, value in way.items():
        table, _, name = dotted.partition(".")
        old: BaseModel = tables[table] if table in tables else getattr(config, table)
        default = type(old).model_fields[name].default
        tables[table] = new = old.model_copy(update={name: default if value is REMOVE else value})
        if value is REMOVE:
            new.model_fields_set.discard(name)
    return config.model_copy(update=tables)


def _tried(config: FederationConfig, wrong: Mismatch, rules: Mapping[str, Rule]) -> list[Way]:
    """Ways out: the first that works of those that the question offers, and the first other rule that does."""
    before, now = _elsewhere(config), config.defence.rule_of(config.privacy.server_sees)
    drop: Way = {F: REMOVE} if written(config, F) else {}
    others: list[Way] = [
        {RULE: name, **(drop if name == "none" else {})} for name in OFFERED if name in rules and name != now
    ]

    def works(way: Way) -> bool:
        after = changed(config, way)
        return not any(_wrong(after, rules)) and _elsewhere(after) <= before

    def tried(ways: Iterable[Way]) -> Iterator[Way]:
        for way in ways:
            if works(way):
                yield way
            else:  # it may leave another question open that has an answer of its own
                further = (way | more for left in _wrong(changed(config, way), rules) for more in left.ways)
                yield from filter(works, further)

    found = (next(tried(ways), None) for ways in (wrong.ways, others))
    return [way for way in found if way is not None]


def _elsewhere(config: FederationConfig) -> set[str]:
    """The keys of what `check_federation` refuses."""
    try:
        check_federation(config)
    except SettingsRefused as error:
        return {problem.key for problem in error.problems}
    return set()


def _spelt(way: Way) -> str:
    """A way out in words."""
    steps: list[str] = []
    for dotted, value in way.items():
        table, _, name = dotted.partition(".")
        steps.append(f"remove {dotted}" if value is REMOVE else f"write {name} = {show(value)} in [{table}]")
    return " and ".join(steps)
