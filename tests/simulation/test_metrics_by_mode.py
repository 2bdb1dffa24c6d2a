"""What the page shows of single clients, mode by mode: no series with a client's name says what the mode hides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from roughfed.config import FederationConfig
from roughfed.server import metrics
from roughfed.server.metrics import ServerMetrics
from roughfed.server.observe.gauges import metrics_of
from tests import server_context

from .masked_rig import MaskedRig
from .rig import NAMES, scene
from .test_defence_groups import ATTACKER, deltas_of

MODES = ("updates", "sketches", "sums")
SHOWN: Mapping[str, tuple[str, ...]] = {
    "client_updates_total": MODES,  # that somebody sent one, the server sees in any case
    "client_excluded_total": MODES,  # and is told that it was left out; of sums its whole group was
    "client_last_seen_timestamp_seconds": MODES,
    "client_contribution_score": ("updates", "sketches"),  # of sums it would be the group's
}
"""Families with a client's name -> the modes that may show them."""

PRIVATE = ("loss", "accuracy", "seconds", "samples", "bytes", "norm", "weight")
"""Words of what a single client's series must not be about, whatever the mode."""


def played(mode: str, folder: Path, monkeypatch: pytest.MonkeyPatch, per_client: str) -> tuple[ServerMetrics, set[str]]:
    """The page after a round with an update that is left out, and scores of everybody; and everybody's name."""
    config = FederationConfig.model_validate({"privacy": {"server_sees": mode}, "metrics": {"per_client": per_client}})
    page = metrics_of(config)
    monkeypatch.setattr(server_context, "ServerMetrics", lambda: page)
    if mode == "updates":
        row, _ = scene(folder, {"gamma": "absurd"})
        names = set(NAMES)
    else:
        settings: dict[str, dict[str, Any]] = {"privacy": {"server_sees": mode}}
        settings["defence"] = {"rule": "multi-krum", "f": 1}
        deltas = deltas_of(35 if mode == "sums" else 8)  # of groups, five are judged
        row, names = MaskedRig(folder, deltas, settings=settings).play(), set(deltas)
        assert (row.sets or {})[ATTACKER]
    assert row.outcome == "committed"
    page.contribution({"scores": {name: {"total": 1.0 + at} for at, name in enumerate(sorted(names))}})
    for name in names:
        page.seen(name)
    return page, names


def named(page: ServerMetrics, names: set[str]) -> dict[str, dict[str, float]]:
    """Family -> client -> value, of all samples that name a client in whatever label."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(page.render().decode()):
        for sample in family.samples:
            for each in names & set(sample.labels.values()):
                found.setdefault(sample.name.removeprefix("roughfed_"), {})[each] = sample.value
    return found


@pytest.mark.parametrize(
    ("mode", "per_client"), [("updates", "top"), *((mode, word) for mode in MODES for word in ("all", "off"))]
)
def test_no_series_says_of_a_client_what_the_mode_hides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, per_client: str
) -> None:
    page, names = played(mode, tmp_path, monkeypatch, per_client)
    allowed = set() if per_client == "off" else {name for name, modes in SHOWN.items() if mode in modes}

    found = named(page, names)

    assert found.keys() == allowed
    if per_client == "off":
        assert '{client="' not in page.render().decode()
    for values in found.values():
        assert len(values) <= (20 if per_client == "top" else 200)


def test_every_family_with_a_clients_name_is_on_the_list_and_about_nothing_private() -> None:
    of_clients = {family.name for family in metrics.FAMILIES if "client" in family.labels}
    assert of_clients == SHOWN.keys()
    for name in of_clients - {"client_last_seen_timestamp_seconds"}:
        assert not any(word in name for word in PRIVATE), name
