"""A cheating server, after the uploads: seeds, conflicts, sets and unmask requests that a client refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from roughfed.crypto.merkle import merkle_root
from roughfed.errors import IdentityError, RemoteProtocolError
from roughfed.secagg import messages as m
from roughfed.secagg.client import State
from roughfed.secagg.groups import colluders, threshold
from roughfed.types import Signed
from roughfed.wire.secagg import decode_stage, encode_stage

from .scene import ME, OTHER, SIZE, THIRD, Scene, scene
from .secagg import identity, make_round

# -- who is counted ---------------------------------------------------------------------------------------------------


def without(statements: tuple[Signed, ...], name: str) -> tuple[Signed, ...]:
    return tuple(signed for signed in statements if signed.signer != name)


def stated(name: str, *, of: str = "", view: bytes = b"v" * 32) -> Signed:
    """A statement that a member really signed, over another view."""
    body = encode_stage(m.Statement(of or name, view))
    return Signed(body, identity(name).sign(m.STATEMENT_DOMAIN, body), name)


def restated(value: m.Seed | m.Sets, name: str, *, of: str = "") -> tuple[Signed, ...]:
    view = decode_stage(m.Statement, value.statements[0].body).view_digest if of else b"v" * 32
    return tuple(stated(name, of=of, view=view) if s.signer == name else s for s in value.statements)


def forged(value: m.Seed | m.Sets, name: str) -> tuple[Signed, ...]:
    return tuple(replace(s, signature=bytes(64)) if s.signer == name else s for s in value.statements)


@pytest.mark.parametrize("stage", ["seed", "sets"])
@pytest.mark.parametrize("dim", [0, 16])
def test_a_member_without_a_true_signature_is_not_counted(stage: str, dim: int) -> None:
    if stage == "seed" and not dim:
        return
    made = scene(stage, dim=dim)
    assert isinstance(made.honest, m.Seed | m.Sets)
    if stage == "sets" and dim:  # it holds the true statement from the seed already, and takes no other
        made.refuses(replace(made.honest, statements=restated(made.honest, OTHER)), "two-views")
    else:
        made.refuses(replace(made.honest, statements=forged(made.honest, OTHER)), "signature", IdentityError)


def test_a_client_whose_own_statement_is_not_signed_yet_answers_nothing() -> None:
    """Between the masked bytes and the statement about them, also after a restart there, it is in no sum."""
    for stage, dim in (("seed", 16), ("sets", 0)):
        made = scene(stage, dim=dim)
        made.me._own_statement = None
        made.refuses(made.honest, "statement")


# -- seed and conflicts -----------------------------------------------------------------------------------------------

SEEDS: dict[str, tuple[Callable[[m.Seed], m.Seed], str]] = {
    "another round": (lambda s: replace(s, header_digest=b"h" * 32), "header"),
    "another group": (lambda s: replace(s, group=1), "seed"),
    "more numbers": (lambda s: replace(s, dim=32), "seed"),
    "a root without the own upload": (lambda s: replace(s, root=merkle_root([bytes(32)] * 7)), "seed"),
    "another place": (lambda s: replace(s, index=s.index - 1), "seed"),
    "another count": (lambda s: replace(s, count=99), "seed"),
    "a path of another": (lambda s: replace(s, path=s.path[::-1]), "seed"),
    "this client did not upload": (lambda s: replace(s, statements=without(s.statements, ME)), "seed"),
    "a stranger uploaded": (lambda s: replace(s, statements=(*s.statements, stated("z"))), "seed"),
    "one twice": (lambda s: replace(s, statements=(s.statements[0], *s.statements)), "statement"),
    "a member whose upload is not under the root": (
        lambda s: replace(s, statements=without(s.statements, OTHER)),
        "seed",
    ),
    "a member that uploaded under other deals": (lambda s: replace(s, statements=restated(s, OTHER)), "two-views"),
    "a statement about another member": (
        lambda s: replace(s, statements=restated(s, OTHER, of=THIRD)),
        "two-views",
    ),
    "another statement of this client": (lambda s: replace(s, statements=restated(s, ME)), "statement"),
}


@pytest.mark.parametrize("name", SEEDS)
def test_a_false_seed_is_refused(name: str) -> None:
    change, reason = SEEDS[name]
    made = scene("seed")
    assert isinstance(made.honest, m.Seed)
    made.refuses(change(made.honest), reason)


@pytest.mark.parametrize("stage", ["seed", "sets"])
def test_what_the_server_must_sign_is_signed(stage: str) -> None:
    made = scene(stage)
    with pytest.raises(RemoteProtocolError) as caught:
        made.me.receive(made.honest, None)
    assert caught.value.reason == "signature"
    made = scene(stage)
    assert made.domain is not None
    with pytest.raises(IdentityError):
        made.tell(made.honest, signed=made.sign(OTHER, made.domain, made.honest))
    assert made.me.state is State.OUT


def conflict(made: Scene, name: str, change: Callable[[m.Sketch], m.Sketch] = lambda s: s) -> m.Conflict:
    return m.Conflict(name, made.sign(name, m.SKETCH_DOMAIN, change(decode_stage(m.Sketch, made.sketches[name].body))))


def other_lanes(sketch: m.Sketch) -> m.Sketch:
    return replace(sketch, pairs=tuple((n, bytes(len(lanes)) if n == ME else lanes) for n, lanes in sketch.pairs))


def test_a_true_conflict_opens_that_pair_alone() -> None:
    made = scene("sets")
    (answer,) = made.me.receive(conflict(made, OTHER, other_lanes))
    opening = decode_stage(m.Opening, answer.body)
    assert (opening.kind, opening.against, opening.key) == ("pair", OTHER, made.me._mates[OTHER].pair_key)


def test_a_conflict_without_a_conflict_opens_nothing() -> None:
    made = scene("sets")
    made.domain = None
    made.honest = conflict(made, THIRD, other_lanes)
    made.refuses(conflict(made, OTHER), "conflict")


def test_a_conflict_under_another_seed_opens_nothing() -> None:
    """H6: a server that gives two members two seeds holds two truthful sketches that differ."""
    made = scene("sets")
    made.domain = None
    made.honest = conflict(made, THIRD, other_lanes)
    made.refuses(conflict(made, OTHER, lambda s: other_lanes(replace(s, seed_root=b"r" * 32))), "two-seeds")


def test_a_conflict_that_the_peer_did_not_sign_opens_nothing() -> None:
    made = scene("sets")
    made.domain = None
    made.honest = conflict(made, THIRD, other_lanes)
    bent = other_lanes(decode_stage(m.Sketch, made.sketches[OTHER].body))
    made.refuses(m.Conflict(OTHER, made.sign(THIRD, m.SKETCH_DOMAIN, bent)), "signature", IdentityError)


def test_a_conflict_with_itself_or_a_stranger_opens_nothing() -> None:
    for name in (ME, "zz"):
        made = scene("sets")
        made.domain = None
        made.honest = conflict(made, THIRD, other_lanes)
        made.refuses(m.Conflict(name, made.sketches[OTHER]), "conflict")


def test_no_more_pairs_are_opened_than_there_can_be_liars() -> None:
    made = scene("sets")
    made.domain = None
    others = [n for n in make_round(SIZE).names if n != ME]
    for name in others[: colluders(SIZE)]:
        made.tell(conflict(made, name, other_lanes))
    made.honest = conflict(made, others[0], other_lanes)
    made.refuses(conflict(made, others[colluders(SIZE)], other_lanes), "conflict")


# -- sets and unmask --------------------------------------------------------------------------------------------------

SETS: dict[str, tuple[Callable[[m.Sets], m.Sets], str]] = {
    "another round": (lambda s: replace(s, header_digest=b"h" * 32), "header"),
    "another group": (lambda s: replace(s, group=1), "sets"),
    "another seed": (lambda s: replace(s, seed_root=b"r" * 32), "sets"),
    "one in both (T5)": (lambda s: replace(s, accepted=tuple(sorted((*s.accepted, THIRD)))), "sets"),
    "one twice": (lambda s: replace(s, accepted=(s.accepted[0], *s.accepted)), "sets"),
    "one in neither": (lambda s: replace(s, accepted=s.accepted[1:]), "sets"),
    "a stranger": (lambda s: replace(s, accepted=(*s.accepted, "z")), "sets"),
    "an accepted member without a statement": (
        lambda s: replace(s, statements=without(s.statements, OTHER)),
        "statement",
    ),
    "an accepted member that uploaded under other deals": (
        lambda s: replace(s, statements=restated(s, OTHER)),
        "two-views",
    ),
    "a sum of three (T8)": (
        lambda s: replace(
            s,
            accepted=s.accepted[:3],
            statements=s.statements[:3],
            excluded=(*s.excluded, *((n, "x") for n in s.accepted[3:])),
        ),
        "too-few",
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_false_sets_are_refused(name: str) -> None:
    change, reason = SETS[name]
    made = scene("sets")
    assert isinstance(made.honest, m.Sets)
    made.refuses(change(made.honest), reason)


def request_changes() -> dict[str, tuple[Callable[[Scene, m.UnmaskRequest], m.UnmaskRequest], str, type[Exception]]]:
    remote, no_id = RemoteProtocolError, IdentityError
    t = threshold(SIZE)

    def with_(name: str, scene_: Scene, request: m.UnmaskRequest, digest: bytes) -> m.UnmaskRequest:
        fresh = scene_.sign(name, m.CONSISTENCY_DOMAIN, m.Consistency(digest))
        return m.UnmaskRequest(tuple(fresh if s.signer == name else s for s in request.consistency))

    def forged(_: Scene, request: m.UnmaskRequest) -> m.UnmaskRequest:
        rows = (replace(s, signature=bytes(64)) if s.signer == OTHER else s for s in request.consistency)
        return m.UnmaskRequest(tuple(rows))

    def one_often(_: Scene, request: m.UnmaskRequest) -> m.UnmaskRequest:
        return m.UnmaskRequest(request.consistency[: t - 1] + request.consistency[:1] * 9)

    def stranger(scene_: Scene, request: m.UnmaskRequest) -> m.UnmaskRequest:
        body = m.Consistency(decode_stage(m.Consistency, request.consistency[0].body).sets_digest)
        return m.UnmaskRequest((*request.consistency, scene_.sign("z", m.CONSISTENCY_DOMAIN, body)))

    return {
        "too few signatures": (lambda _, r: m.UnmaskRequest(r.consistency[: t - 1]), "too-few", remote),
        "one signature many times": (one_often, "too-few", remote),
        "other sets signed (T7)": (lambda s, r: with_(OTHER, s, r, b"o" * 32), "two-sets", remote),
        "a forged signature": (forged, "signature", no_id),
        "a stranger's signature": (stranger, "consistency", remote),
    }


REQUESTS = request_changes()


@pytest.mark.parametrize("name", REQUESTS)
def test_a_false_unmask_request_is_refused(name: str) -> None:
    change, reason, error = REQUESTS[name]
    made = scene("unmask")
    assert isinstance(made.honest, m.UnmaskRequest)
    made.refuses(change(made, made.honest), reason, error)


def test_t_signatures_are_enough_and_shares_of_both_secrets_of_one_client_never_leave() -> None:
    """T20: b of the accepted, the mask secret of the excluded, and no name in both."""
    made = scene("unmask")
    assert isinstance(made.honest, m.UnmaskRequest)
    (answer,) = made.tell(m.UnmaskRequest(made.honest.consistency[: threshold(SIZE)]))
    unmask = decode_stage(m.Unmask, answer.body)
    given, taken = {n for n, _ in unmask.self_mask}, {n for n, _ in unmask.mask_secret}
    assert taken == {THIRD}
    assert given == set(make_round(SIZE).names) - taken


@pytest.mark.parametrize("stage", ["roster", "deals", "seed", "sets", "unmask"])
def test_nothing_of_another_round_is_taken(stage: str) -> None:
    """T10: everything is bound to the header."""
    made, old = scene(stage), scene(stage, seed=1)
    with pytest.raises((RemoteProtocolError, IdentityError)):
        made.tell(old.honest)
    assert made.me.state is State.OUT


def test_without_sketches_the_sets_follow_the_upload() -> None:
    made = scene("sets", dim=0)
    assert made.tell(made.honest)
    made = scene("sets", dim=0)
    assert isinstance(made.honest, m.Sets)
    made.refuses(replace(made.honest, seed_root=b"r" * 32), "sets")
