"""Which rule a name means, and how many attackers are tolerated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.config.defences import NAMES
from roughfed.config.federation import Defence
from roughfed.errors import ConfigError
from roughfed.server.defence import RULES
from roughfed.server.defence.plan import rows_needed, rule_of, tolerated


def test_the_settings_know_every_row_of_the_table() -> None:
    assert RULES.keys() <= set(NAMES)
    assert "auto" not in RULES


def test_an_unknown_rule_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        rule_of("multikrum")
    assert (caught.value.key, caught.value.cure) == ("defence.rule", "did you mean 'multi-krum'?")


def test_auto_defends_wherever_single_clients_are_seen() -> None:
    auto = {sees: Defence(rule="auto").rule_of(sees) for sees in ("updates", "sketches", "sums")}
    assert auto == {"updates": "default", "sketches": "default", "sums": "none"}
    assert {Defence(rule="multi-krum").rule_of(sees) for sees in auto} == {"multi-krum"}


@pytest.mark.parametrize(
    ("share", "n", "f"),
    [(0.0, 100, 0), (0.1, 9, 0), (0.1, 10, 1), (0.1, 19, 1), (0.1, 20, 2), (0.2, 0, 0), (0.29, 100, 29), (0.49, 3, 1)],
)
def test_the_share_is_rounded_down_as_it_is_written(share: float, n: int, f: int) -> None:
    assert tolerated(share, n) == f


@pytest.mark.parametrize("f", [0, 1, 7])
@pytest.mark.parametrize("n", [0, 3, 100])
def test_a_number_is_meant_as_it_stands(f: int, n: int) -> None:
    assert tolerated(f, n) == f


@pytest.mark.parametrize("share", [-0.1, 0.5, 1.0, float("nan")])
def test_no_rule_holds_against_half(share: float) -> None:
    with pytest.raises(ConfigError) as caught:
        tolerated(share, 10)
    assert caught.value.key == "defence.f"


@pytest.mark.parametrize("name", RULES)
@given(f=st.integers(0, 1000))
def test_no_rule_is_asked_against_half_of_the_rows(name: str, f: int) -> None:
    needed = rows_needed(RULES[name], f)
    assert needed >= max(1, RULES[name].min_rows(f))
    assert needed > 2 * f
