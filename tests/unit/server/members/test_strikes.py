"""Who is cut for what was refused."""

import pytest

from roughfed.errors import RemoteProtocolError, StaleRound, StorageError, TooLarge
from roughfed.server.members.strikes import COUNTED, WINDOW_S, Strikes
from roughfed.transport.names import PASSING

BAD = RemoteProtocolError("malformed", reason="schema")


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_so_many_within_a_minute_cut_a_client_for_a_minute_and_nobody_else() -> None:
    clock = Clock()
    strikes = Strikes(3, clock=clock)
    assert [strikes.note("eve", BAD) for _ in range(3)] == [False, False, True]
    with pytest.raises(TooLarge, match="60 s") as refused:
        strikes.check("eve")
    assert refused.value.reason == "strikes"
    strikes.check("ann")
    clock.now = WINDOW_S
    strikes.check("eve")
    assert not strikes.note("eve", BAD)


def test_a_few_each_minute_cut_nobody() -> None:
    clock = Clock()
    strikes = Strikes(3, clock=clock)
    for _ in range(100):
        assert not strikes.note("ann", BAD)
        clock.now += WINDOW_S / 2 + 1
    strikes.check("ann")


@pytest.mark.parametrize("error", [StaleRound("late", reason="late"), StaleRound("old"), StorageError("full")])
def test_what_an_honest_client_meets_is_not_counted(error: Exception) -> None:
    strikes = Strikes(1)
    assert not strikes.note("ann", error)  # type: ignore[arg-type]
    strikes.check("ann")
    assert not COUNTED & (PASSING | {"late", "stale", "not-in-cohort", "not-finite", "digest", "conflict", "outdated"})


def test_zero_is_no_limit() -> None:
    strikes = Strikes(0)
    assert not any(strikes.note("eve", BAD) for _ in range(1000))
