"""A cheating server: every rule that a client keeps refuses once, says why, and ends the client's part in the round."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from roughfed.crypto.identity import IdentityKey
from roughfed.errors import IdentityError, LocalProtocolError, RemoteProtocolError
from roughfed.secagg import messages as m
from roughfed.secagg.client import Policy, State
from roughfed.secagg.roster import make_cohort
from roughfed.wire.secagg import decode_stage, encode_stage

from .scene import ME, OTHER, SIZE, STAGES, Scene, scene
from .secagg import make_round, member_entry


@pytest.mark.parametrize("stage", STAGES)
def test_the_honest_message_is_answered(stage: str) -> None:
    made = scene(stage)
    answers = made.tell(made.honest)
    assert len(answers) == (0 if stage == "deals" else 1)
    assert made.me.state is not State.OUT


@pytest.mark.parametrize("stage", STAGES)
def test_every_message_is_answered_once(stage: str) -> None:
    """Two rosters, two seeds, second sets, a second unmask request (T6, T13): never."""
    made = scene(stage)
    made.tell(made.honest)
    made.refuses(made.honest, "order")


@pytest.mark.parametrize("stage", STAGES)
def test_no_message_is_taken_out_of_its_order(stage: str) -> None:
    for other in STAGES:
        if other == stage:
            continue
        made, early = scene(stage), scene(other)
        made.honest, made.domain = early.honest, early.domain
        made.refuses(early.honest, "order")


def test_sets_without_the_sketches_are_refused() -> None:
    """Where the round has sketches, the sets may not come before the client's own is sent."""
    made, later = scene("seed"), scene("sets")
    made.domain = m.SETS_DOMAIN
    made.refuses(later.honest, "order")


def test_nobody_masks_twice_or_before_the_deals() -> None:
    for stage in ("roster", "deals", "seed"):
        made = scene(stage)
        codes = make_round(SIZE, length=256, dim=16).codes[ME]
        with pytest.raises(LocalProtocolError):
            made.me.mask(codes)


# -- roster -----------------------------------------------------------------------------------------------------------


def roster_changes() -> dict[str, tuple[Callable[[Scene, m.Roster], m.Roster], str, type[Exception]]]:
    remote, no_id = RemoteProtocolError, IdentityError

    def regroup(
        scene_: Scene, roster: m.Roster
    ) -> m.Roster:  # the cohort is larger than the group: another one follows
        extra = tuple((f"d{i:02d}", hashlib.sha256(bytes([i])).digest()) for i in range(30))
        return replace(roster, cohort=tuple(sorted((*roster.cohort, *extra))))

    def advert_of(change: Callable[[m.Advertise], m.Advertise], name: str) -> Callable[[Scene, m.Roster], m.Roster]:
        def bent(scene_: Scene, roster: m.Roster) -> m.Roster:
            adverts = tuple(
                scene_.sign(name, m.ADVERTISE_DOMAIN, change(decode_stage(m.Advertise, a.body)))
                if a.signer == name
                else a
                for a in roster.adverts
            )
            return replace(roster, adverts=adverts, cohort=make_cohort(adverts))

        return bent

    def forged(scene_: Scene, roster: m.Roster) -> m.Roster:  # the server's own key under another's name
        adverts = tuple(
            replace(a, body=(b := encode_stage(replace(decode_stage(m.Advertise, a.body), mask_key=b"m" * 32))),
                    signature=IdentityKey.from_private_bytes(b"s" * 32).sign(m.ADVERTISE_DOMAIN, b))
            if a.signer == OTHER else a
            for a in roster.adverts
        )  # fmt: skip
        return replace(roster, adverts=adverts, cohort=make_cohort(adverts))

    def own_key_of_other(scene_: Scene, roster: m.Roster) -> m.Roster:
        mine = next(decode_stage(m.Advertise, a.body) for a in roster.adverts if a.signer == ME)
        return advert_of(lambda a: replace(a, mask_key=mine.mask_key), OTHER)(scene_, roster)

    def swap_entries(scene_: Scene, roster: m.Roster) -> m.Roster:
        return replace(roster, members=(roster.members[1], roster.members[0], *roster.members[2:]))

    def uncertified(scene_: Scene, roster: m.Roster) -> m.Roster:
        members = list(roster.members)
        members[5] = members[5][:-8] + bytes(8)
        return replace(roster, members=tuple(members))

    def without_me(scene_: Scene, roster: m.Roster) -> m.Roster:
        keep = [i for i, a in enumerate(roster.adverts) if a.signer != ME]
        adverts = tuple(roster.adverts[i] for i in keep)
        return replace(roster, adverts=adverts, members=tuple(roster.members[i] for i in keep))

    def fewer(scene_: Scene, roster: m.Roster) -> m.Roster:
        return replace(roster, adverts=roster.adverts[:5], members=roster.members[:5])

    return {
        "another round": (lambda _, r: replace(r, header_digest=b"h" * 32), "header", remote),
        "nonce": (lambda _, r: replace(r, nonce=b"n" * 32), "nonce", remote),
        "number of the group": (lambda _, r: replace(r, group=1), "group", remote),
        "a group that does not follow": (regroup, "group", remote),
        "fewer than the group": (fewer, "group", remote),
        "without this client": (without_me, "roster", remote),
        "unsorted": (lambda _, r: replace(r, adverts=r.adverts[::-1], members=r.members[::-1]), "roster", remote),
        "unsorted cohort": (lambda _, r: replace(r, cohort=r.cohort[::-1]), "roster", remote),
        "a name twice in the cohort": (lambda _, r: replace(r, cohort=(r.cohort[0], *r.cohort)), "roster", remote),
        "an advert outside of the cohort": (
            lambda _, r: replace(r, cohort=((r.cohort[0][0], bytes(32)), *r.cohort[1:])), "roster", remote),
        "an entry missing": (lambda _, r: replace(r, members=r.members[1:]), "roster", remote),
        "somebody else's entry": (swap_entries, "roster", no_id),
        "an entry that the CA did not sign": (uncertified, "roster", no_id),
        "an identity key of the server's": (
            lambda _, r: replace(r, members=(*r.members[:5], member_entry(OTHER, "server"), *r.members[6:])),
            "signature", no_id),
        "a key of the server's": (forged, "signature", no_id),
        "another advert of this client": (advert_of(lambda a: replace(a, mask_key=b"m" * 32), ME), "advert", remote),
        "an advert of another round": (
            advert_of(lambda a: replace(a, header_digest=b"h" * 32), OTHER), "header", remote),
        "this client's key for two": (own_key_of_other, "advert", remote),
    }  # fmt: skip


ROSTERS = roster_changes()


@pytest.mark.parametrize("name", ROSTERS)
def test_a_false_roster_is_refused(name: str) -> None:
    change, reason, error = ROSTERS[name]
    made = scene("roster")
    assert isinstance(made.honest, m.Roster)
    made.refuses(change(made, made.honest), reason, error)


def test_a_group_below_the_clients_policy_and_lanes_that_overflow_are_refused() -> None:
    round_ = make_round(SIZE, length=256, dim=16, policy=Policy(smallest_group=8))
    adverts = round_.advertise()
    with pytest.raises(RemoteProtocolError) as caught:
        round_.clients[ME].receive(round_.roster(adverts))
    assert caught.value.reason == "policy"
    round_ = make_round(SIZE, length=256, dim=16)
    round_.terms = replace(round_.terms, levels=2 * round_.terms.levels)
    adverts = round_.advertise()
    with pytest.raises(RemoteProtocolError) as caught:
        round_.clients[ME].receive(round_.roster(adverts))
    assert caught.value.reason == "lanes"


def test_a_sketch_above_the_clients_policy_is_refused_before_there_are_keys() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        make_round(SIZE, length=4096, dim=512, policy=Policy(largest_dim=256)).advertise()
    assert caught.value.reason == "policy"


# -- deals ------------------------------------------------------------------------------------------------------------


def deals_changes() -> dict[str, tuple[Callable[[Scene, m.Deals], m.Deals], str, type[Exception]]]:
    remote, no_id = RemoteProtocolError, IdentityError

    def bend(name: str, change: Callable[[m.Shares], m.Shares]) -> Callable[[Scene, m.Deals], m.Deals]:
        def bent(scene_: Scene, deals: m.Deals) -> m.Deals:
            return m.Deals(
                tuple(
                    scene_.sign(name, m.SHARES_DOMAIN, change(decode_stage(m.Shares, s.body)))
                    if s.signer == name
                    else s
                    for s in deals.shares
                )
            )

        return bent

    def without(*names: str) -> Callable[[Scene, m.Deals], m.Deals]:
        return lambda _, deals: m.Deals(tuple(s for s in deals.shares if s.signer not in names))

    def altered(_: Scene, deals: m.Deals) -> m.Deals:
        return m.Deals(tuple(replace(s, body=s.body[:-1] + b"\0") if s.signer == OTHER else s for s in deals.shares))

    return {
        "own deal missing": (without(ME), "deals", remote),
        "too few dealers": (without("c00", "c01", "c03"), "too-few", remote),
        "unsorted": (lambda _, d: m.Deals(d.shares[::-1]), "deals", remote),
        "one twice": (lambda _, d: m.Deals((d.shares[0], *d.shares)), "deals", remote),
        "a stranger's": (lambda _, d: m.Deals((*d.shares, replace(d.shares[0], signer="z"))), "deals", remote),
        "another deal of this client": (bend(ME, lambda s: replace(s, sealed=s.sealed[::-1])), "deals", remote),
        "an altered deal": (altered, "signature", no_id),
        "a deal of another round": (bend(OTHER, lambda s: replace(s, header_digest=b"h" * 32)), "header", remote),
        "a deal under another roster": (bend(OTHER, lambda s: replace(s, roster_digest=b"h" * 32)), "roster", remote),
        "a deal without this client": (
            bend(OTHER, lambda s: replace(s, sealed=tuple(x for x in s.sealed if x.holder != ME))), "deals", remote),
    }  # fmt: skip


DEALS = deals_changes()


@pytest.mark.parametrize("name", DEALS)
def test_false_deals_are_refused(name: str) -> None:
    change, reason, error = DEALS[name]
    made = scene("deals")
    assert isinstance(made.honest, m.Deals)
    made.refuses(change(made, made.honest), reason, error)
