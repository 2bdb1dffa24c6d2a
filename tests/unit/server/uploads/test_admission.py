"""Running figures of an update, and the limits of a statement's numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from roughfed.errors import RemoteProtocolError, TooLarge
from roughfed.server.aggregate import WEIGHTINGS, weighed
from roughfed.server.uploads.admission import (
    MAX_EXAMPLES,
    Vitals,
    absurd,
    check_alignment,
    check_counts,
    check_said,
    check_statement,
)
from roughfed.types import UpdateStatement

float32 = st.floats(width=32, allow_nan=True, allow_infinity=True)


def watched(values: np.ndarray, cuts: list[int]) -> Vitals:
    vitals = Vitals()
    for piece in np.split(values, sorted(min(cut, len(values)) for cut in cuts)):
        vitals.see(memoryview(piece.astype("<f4").tobytes()))
    return vitals


@given(values=arrays(np.float32, st.integers(0, 50), elements=float32), cuts=st.lists(st.integers(0, 50), max_size=4))
def test_one_odd_value_anywhere_is_seen_whatever_the_chunks(values: np.ndarray, cuts: list[int]) -> None:
    vitals = watched(values, cuts)
    finite = bool(np.isfinite(values).all())
    assert vitals.finite == finite
    if finite:
        vitals.check()
        exact = math.fsum(float(v) ** 2 for v in values)
        assert vitals.sq_norm == pytest.approx(exact, rel=1e-5, abs=1e-40)
    else:
        with pytest.raises(RemoteProtocolError) as refused:
            vitals.check()
        assert refused.value.reason == "not-finite"


@pytest.mark.parametrize("bits", [0x7F800001, 0xFF800001, 0x7FC00000, 0xFFFFFFFF, 0x7F800000, 0xFF800000])
def test_every_kind_of_no_number_is_seen(bits: int) -> None:
    vitals = Vitals()
    vitals.see(memoryview(np.array([0, 1, bits, 2], dtype="<u4").tobytes()))
    vitals.see(memoryview(bytes(400)))  # and not forgotten, also not over values that only look infinite
    vitals.see(memoryview(np.full(100, np.finfo("<f4").max, dtype="<f4").tobytes()))
    assert not vitals.finite


def test_the_largest_values_do_not_look_infinite() -> None:
    values = np.full(1 << 18, np.finfo(np.float32).max, dtype=np.float32)
    vitals = watched(values, [])
    assert vitals.finite
    assert vitals.sq_norm == pytest.approx(len(values) * float(values[0]) ** 2)


@pytest.mark.parametrize(
    ("norms", "out"),
    [
        ([1.0, 2.0, 3.0], []),
        ([1.0, 2.0, 1.9e4], []),
        ([1.0, 2.0, 2.1e4], [2]),
        ([1e30, 1.0, 1e25, 2.0, 3.0], [0, 2]),
        ([1.0, 1e30], []),  # which of two is the absurd one?
        ([1e-20, 2e-20, 3e-20], []),  # small is not absurd
        ([0.0, 0.0, 0.0, 5.0], []),  # zeros say nothing of the scale
        ([0.0, 0.0, 0.0, 5.0, 6.0, 1e30], [5]),
        ([0.0, 0.0, 0.0], []),
        ([], []),
    ],
)
def test_what_is_ten_thousand_times_the_median_is_absurd(norms: list[float], out: list[int]) -> None:
    assert absurd({f"c{i}": norm for i, norm in enumerate(norms)}) == {f"c{i}" for i in out}


@given(norms=st.lists(st.floats(0, 1e60), max_size=30))
def test_most_of_the_clients_always_stay(norms: list[float]) -> None:
    assert 2 * len(absurd({f"c{i}": norm for i, norm in enumerate(norms)})) <= len(norms)


def test_the_norm_is_the_root_of_the_squares() -> None:
    assert watched(np.array([3, 4], dtype=np.float32), [1]).norm == 5.0


@given(count=st.integers(0, 1000))
def test_chunks_hold_whole_floats(count: int) -> None:
    if count % 4 == 0:
        check_alignment(memoryview(bytes(count)))
        return
    with pytest.raises(RemoteProtocolError):
        check_alignment(memoryview(bytes(count)))


def statement(**changes: object) -> UpdateStatement:
    sane = {
        "run": "r",
        "round": 1,
        "client": "alpha",
        "header_digest": bytes(32),
        "digest": bytes(32),
        "size_bytes": 400,
        "num_examples": 1,
    }
    return UpdateStatement(**(sane | changes))  # pyright: ignore[reportArgumentType]


REFUSED = {
    "another name": (statement(client="beta"), RemoteProtocolError, "identity"),
    "no name": (statement(client=""), RemoteProtocolError, "identity"),
    "another header": (statement(header_digest=bytes([1]) * 32), RemoteProtocolError, "header"),
    "one float more": (statement(size_bytes=404), TooLarge, "size"),
    "one float less": (statement(size_bytes=396), RemoteProtocolError, "schema"),
    "nothing": (statement(size_bytes=0), RemoteProtocolError, "schema"),
    "no examples": (statement(num_examples=0), RemoteProtocolError, "count"),
    "too many examples": (statement(num_examples=MAX_EXAMPLES + 1), RemoteProtocolError, "count"),
}


@pytest.mark.parametrize(("wrong", "kind", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_each_rule_has_one_refusal(wrong: UpdateStatement, kind: type[RemoteProtocolError], reason: str) -> None:
    def check() -> None:
        check_statement(wrong, client="alpha", header_digest=bytes(32), size_bytes=400)
        check_counts(wrong, masked=False)

    with pytest.raises(kind) as refused:
        check()
    assert type(refused.value) is kind
    assert refused.value.reason == reason


@pytest.mark.parametrize("examples", [1, MAX_EXAMPLES])
def test_what_is_right_passes(examples: int) -> None:
    check_statement(statement(num_examples=examples), client="alpha", header_digest=bytes(32), size_bytes=400)
    check_counts(statement(num_examples=examples), masked=False)


MASKED_SAYS = [{"num_examples": 1}, {"num_steps": 1}, {"train_seconds": 1.0}, {"metrics": {"loss": 1.0}}]


@pytest.mark.parametrize("said", MASKED_SAYS, ids=lambda said: next(iter(said)))
def test_a_masked_update_says_nothing_about_its_client(said: dict[str, object]) -> None:
    check_counts(statement(num_examples=0), masked=True)
    with pytest.raises(RemoteProtocolError) as refused:
        check_counts(statement(**{"num_examples": 0} | said), masked=True)
    assert refused.value.reason == "count"


def said(**fields: object) -> UpdateStatement:
    return UpdateStatement("r", 1, "c", bytes(32), bytes(32), 4, 10, **fields)  # type: ignore[arg-type]


def test_weight_and_statistics_in_the_clear_are_those_that_were_offered_and_asked() -> None:
    asked = ("class-count:2", "trained:1")
    check_said(said(), (), self_weight=False)
    check_said(said(quarters=1, statistics={"class-count": (1, 2)}), asked, self_weight=True)
    refused = [
        (said(quarters=3), False, "weight"),
        (said(statistics={"class-count": (1, 2, 3)}), True, "statistics"),
        (said(statistics={"class-owner": (1, 1)}), True, "statistics"),
    ]
    for statement, offered, reason in refused:
        with pytest.raises(RemoteProtocolError) as caught:
            check_said(statement, asked, self_weight=offered)
        assert caught.value.reason == reason


@pytest.mark.parametrize("fields", [{"quarters": 2}, {"statistics": {"class-count": (1,)}}])
def test_a_masked_update_says_nothing_of_its_own_in_the_clear(fields: dict[str, object]) -> None:
    masked = UpdateStatement("r", 1, "c", bytes(32), bytes(32), 4, 0, **fields)  # type: ignore[arg-type]
    with pytest.raises(RemoteProtocolError):
        check_counts(masked, masked=True)


def test_a_weight_class_multiplies_the_weight_of_the_rule() -> None:
    statements = [said(quarters=q) for q in (1, 2, 3, 4)]
    assert weighed(statements, WEIGHTINGS["uniform"]) == [0.25, 0.5, 0.75, 1.0]
    assert weighed(statements, WEIGHTINGS["examples"]) == [2.5, 5.0, 7.5, 10.0]
