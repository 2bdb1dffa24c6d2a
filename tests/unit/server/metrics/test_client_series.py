"""Series of single clients: bounded in number, by name only where the setting allows it."""

from __future__ import annotations

import pytest

from roughfed.server.metrics import ServerMetrics
from roughfed.server.metrics.client_series import LIMITS, ClientSeries
from tests.unit.server.metrics.test_metrics import Clock, samples


@pytest.mark.parametrize("mode", LIMITS)
def test_client_series_are_bounded(mode) -> None:
    m = ServerMetrics(per_client=mode, now=Clock(100.0))
    for i in range(300):
        for _ in range(2):
            m.update("accepted", client=f"c{i}")
        m.seen(f"c{i}")
    page = samples(m.render())
    updates = {k: v for k, v in page.items() if k.startswith("roughfed_client_updates_total{")}
    seen = [k for k in page if k.startswith("roughfed_client_last_seen_timestamp_seconds{")]

    assert len(updates) == (LIMITS[mode] + 1 if mode != "off" else 0)
    assert len(seen) == LIMITS[mode]
    assert sum(updates.values()) == (600 if mode != "off" else 0)
    assert page["roughfed_updates_total{result=accepted}"] == 600


def test_top_shows_the_worst_and_other_never_goes_down() -> None:
    series = ClientSeries("top")
    for i in range(100):
        series.update(f"c{i}", rejected=False)
    others = [dict(series.updates())["other",]]
    for i in range(60, 90):
        for _ in range(i):
            series.update(f"c{i}", rejected=True)
            others.append(dict(series.updates())["other",])

    assert {name for (name,), _ in series.updates()} == {"other", *(f"c{i}" for i in range(70, 90))}
    assert others == sorted(others)


@pytest.mark.parametrize("mode", LIMITS)
def test_exclusions_by_client_are_bounded_and_add_up(mode) -> None:
    m = ServerMetrics(per_client=mode, labels={"defence": ("krum",)})
    for i in range(300):
        m.excluded("krum", "multi-krum", client=f"c{i}")
        if i == 7:
            m.excluded("krum", "multi-krum", client="c7")
    page = samples(m.render())
    by_client = {k: v for k, v in page.items() if k.startswith("roughfed_client_excluded_total{")}

    assert len(by_client) == (LIMITS[mode] + 1 if mode != "off" else 0)
    assert sum(by_client.values()) == (301 if mode != "off" else 0)
    assert mode == "off" or by_client["roughfed_client_excluded_total{client=c7}"] == 2
    assert page["roughfed_defence_excluded_total{defence=krum,reason=multi-krum}"] == 301


def test_a_revoked_clients_series_end() -> None:
    m = ServerMetrics(per_client="all")
    for name in ("a", "b"):
        m.update("accepted", client=name)
        m.seen(name)
    m.forget("a")
    m.forget("never-seen")
    page = samples(m.render())

    assert "roughfed_client_updates_total{client=b}" in page
    assert not any("client=a" in name for name in page)


@pytest.mark.parametrize("name", ["other", "UPPER", "a" * 64, "a b", "x\ny", ""])
def test_what_is_no_client_name_gets_no_series(name: str) -> None:
    series = ClientSeries("all")
    series.update(name, rejected=True)
    series.seen(name, 1.0)

    assert series.updates() == [(("other",), 1.0)]
    assert series.last_seen() == []
