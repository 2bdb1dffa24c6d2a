"""Alerts about updates: refused, left out, resumed again and again, lost with their group, proved false."""

from __future__ import annotations

from collections import Counter

from roughfed.report.words import reason
from roughfed.server.observe.health.alert import Firing, most, some
from roughfed.server.observe.health.inputs import DefenceOutcome, HealthInputs

REFUSED_LEAST = 5
REFUSED_SHARE, REFUSED_CALM = 0.2, 0.1
"""Of the updates of the last minutes."""

ROUNDS = 3
"""Rounds in a row in which the defence leaves many out: one alone may be chance."""
SHARE, CALM_SHARE = 1 / 3, 1 / 4
"""Of what it judged."""
ONLY_ONE = ("krum",)
"""Rules that choose a single update, by their definition."""

RESUMED_LEAST = 5
RESUMED_SHARE, RESUMED_CALM = 0.3, 0.15
"""Of the transfers of the last minutes."""


def rejections(inputs: HealthInputs, stands: bool) -> Firing | None:
    """Many updates are refused on arrival: malformed, too large, badly signed, not finite."""
    refused, all_of_them = len(inputs.recent.refused), len(inputs.recent.refused) + inputs.recent.received
    least, share = (1, REFUSED_CALM) if stands else (REFUSED_LEAST, REFUSED_SHARE)
    if refused < least or refused <= share * all_of_them:
        return None
    by_reason = Counter(why for _, why in inputs.recent.refused)
    by_client = Counter(client for client, _ in inputs.recent.refused)
    return Firing(
        f"{refused} of {all_of_them} updates of the last 10 minutes were refused ({most(by_reason)}): "
        f"{most(by_client)}",
        f"read the log of {by_client.most_common(1)[0][0]}; roughfed revoke NAME cuts a client off",
    )


def many_excluded(inputs: HealthInputs, stands: bool) -> Firing | None:
    """The defence leaves out far more than it is meant to hold against: an attack, or a rule that does not fit."""
    last = [each for each in inputs.rounds if each.defence.judged][-ROUNDS:]
    share = CALM_SHARE if stands else SHARE
    if inputs.finished or len(last) < ROUNDS or not all(_many(each.defence, share) for each in last):
        return None
    counts = Counter(name for each in last for name in each.defence.left_out)
    out, judged = sum(len(each.defence.left_out) for each in last), sum(each.defence.judged for each in last)
    newest = last[-1].defence
    return Firing(
        f"{newest.rule} left out {out} of {judged} updates of the last {ROUNDS} rounds, and is meant to hold against "
        f"{newest.tolerated} a round: {most(counts)}",
        "roughfed rounds --last 5: who and why; are the clients' data that different, choose another [defence] rule",
    )


def outnumbered(inputs: HealthInputs, stands: bool) -> Firing | None:
    """More updates are suspicious than the defence may leave out: a large attack, or clients of two kinds."""
    last = [each.defence for each in inputs.rounds if each.defence.judged][-ROUNDS:]
    over = [each for each in last if len(each.suspects) > each.tolerated]
    if inputs.finished or len(over) < (1 if stands else ROUNDS):
        return None
    newest, counts = over[-1], Counter(name for each in over for name in each.suspects)
    return Firing(
        f"{len(newest.suspects)} of {newest.judged} updates were suspicious, too many in {len(over)} of the last "
        f"{ROUNDS} rounds: {newest.rule} holds against {newest.tolerated}. {most(counts)}",
        "ask their owners: an attack is for roughfed quarantine NAME, and for a larger defence.f; where their data are "
        "of another kind, [clusters] makes a model for each kind, and roughfed vouch NAME spares single ones",
    )


def _many(each: DefenceOutcome, share: float) -> bool:
    """More than a share of what was judged, and more than a rule that always leaves f or 2f out."""
    return each.rule not in ONLY_ONE and len(each.left_out) > max(share * each.judged, 2 * each.tolerated)


def resumes(inputs: HealthInputs, stands: bool) -> Firing | None:
    """Transfers break and go on from the middle again and again: a bad line, or a proxy that cuts connections."""
    least, share = (1, RESUMED_CALM) if stands else (RESUMED_LEAST, RESUMED_SHARE)
    resumed, begun = inputs.recent.resumed, inputs.recent.uploads
    if resumed < least or resumed <= share * begun:
        return None
    return Firing(
        f"{resumed} of {begun} transfers of the last 10 minutes went on from the middle after a break",
        "roughfed doctor on a client's machine; a proxy or NAT between may end connections that live for minutes",
    )


def void_groups(inputs: HealthInputs, stands: bool) -> Firing | None:
    """A group of the last masked round gave no sum: what its honest members trained is lost."""
    masked = [each for each in inputs.rounds if each.groups]
    last = masked[-2:] if stands else masked[-1:]  # a bad group goes after two rounds without
    if inputs.finished or not any(each.void for each in last):
        return None
    each = next(each for each in reversed(last) if each.void)
    members, why = each.void[0]
    half = 2 * len(each.void) >= each.groups and each.groups > 1
    return Firing(
        f"{len(each.void)} of {each.groups} groups of round {each.number} gave no sum: {some(members)} ({why})",
        "roughfed status --client NAME for its members; groups that are larger lose more members before they are void",
        "critical" if half else None,
    )


def proved(inputs: HealthInputs, stands: bool) -> Firing | None:
    """A client signed something that proves it broke the protocol."""
    del stands  # it stands until the operator decides
    liars = [f"{name} in round {number} ({reason(why)})" for name, (number, why) in sorted(inputs.proved.items())]
    if not liars:
        return None
    return Firing(
        some(liars),
        f"roughfed revoke {min(inputs.proved)} cuts it off; roughfed release {min(inputs.proved)} asks it again",
    )
