"""Which rule works with what the server sees, and how many attackers are tolerated."""

from __future__ import annotations

import pytest

from roughfed.errors import ConfigError
from roughfed.server.defence import RULES, Rule, check_rule, tolerated


@pytest.mark.parametrize(
    ("rule", "sees"),
    [
        ("none", "sums"),
        ("none", "sketches"),
        ("none", "updates"),
        ("multi-krum", "sketches"),
        ("multi-krum", "updates"),
    ],
)
def test_what_works(rule: str, sees: str) -> None:
    check_rule(rule, sees)  # type: ignore[arg-type]


def test_a_rule_over_clients_is_refused_where_only_sums_are_seen() -> None:
    with pytest.raises(ConfigError) as caught:
        check_rule("multi-krum", "sums")
    assert caught.value.key == "defence.rule"
    assert "sees only sums" in caught.value.cause
    assert caught.value.cure == 'set privacy.server_sees to "sketches" or "updates", or defence.rule to "none"'


def test_a_rule_over_coordinates_is_refused_with_sketches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "median", Rule("updates", lambda f: 2 * f + 1, lambda view, f: {}))
    check_rule("median", "updates")
    with pytest.raises(ConfigError) as caught:
        check_rule("median", "sketches")
    assert "sees only sketches" in caught.value.cause
    assert caught.value.cure == 'set privacy.server_sees to "updates", or defence.rule to "none" or "multi-krum"'


def test_an_unknown_rule_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        check_rule("multikrum", "updates")
    assert (caught.value.key, caught.value.cure) == ("defence.rule", "did you mean 'multi-krum'?")


@pytest.mark.parametrize(
    ("share", "n", "f"),
    [(0.0, 100, 0), (0.1, 9, 0), (0.1, 10, 1), (0.1, 19, 1), (0.1, 20, 2), (0.2, 0, 0), (0.29, 100, 29), (0.49, 3, 1)],
)
def test_the_share_is_rounded_down_as_it_is_written(share: float, n: int, f: int) -> None:
    assert tolerated(share, n) == f


@pytest.mark.parametrize("share", [-0.1, 0.5, 1.0, float("nan")])
def test_no_rule_holds_against_half(share: float) -> None:
    with pytest.raises(ConfigError) as caught:
        tolerated(share, 10)
    assert caught.value.key == "defence.f"
