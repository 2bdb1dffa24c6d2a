"""What [contribution] cannot do with other settings: refused with both keys and a way out that works."""

from __future__ import annotations

from typing import Any

import pytest

from roughfed.config.conflicts import check_federation
from roughfed.config.conflicts.contribution import method_of, scoring_conflicts
from roughfed.config.federation import FederationConfig
from roughfed.config.problems import SettingsRefused

Tables = dict[str, dict[str, Any]]
BASE: Tables = {"model": {"name": "mlp"}, "data": {"name": "digits"}}


def config_of(tables: Tables) -> FederationConfig:
    return FederationConfig.model_validate(BASE | {k: BASE.get(k, {}) | v for k, v in tables.items()})


UPDATES, SKETCHES, SUMS = ({"server_sees": name} for name in ("updates", "sketches", "sums"))

REFUSED: list[tuple[str, Tables, str, str]] = [
    *(
        (f"{method} x {sees['server_sees']}", {"privacy": sees, "contribution": {"method": method}}, "method", cure)
        for method, sees, cure in (
            ("shapley", SKETCHES, 'method = "cgsv"'),
            ("gtg-shapley", SUMS, 'method = "group-regression"'),
            ("leave-one-out", SKETCHES, 'method = "cgsv"'),
            ("cgsv", SUMS, 'method = "group-regression"'),
            ("group-regression", UPDATES, 'method = "cgsv"'),
        )
    ),
    ("all coalitions of anybody", {"privacy": UPDATES, "contribution": {"method": "shapley"}}, "method", "gtg-shapley"),
    (
        "one group",
        {"privacy": SUMS, "contribution": {"method": "group-regression"}, "round": {"min_clients": 20}},
        "method",
        "21 clients or more",
    ),
    ("budget of none", {"contribution": {"budget": 10}}, "budget", "Remove"),
    (
        "budget of cgsv",
        {"privacy": UPDATES, "contribution": {"method": "cgsv", "budget": 10}},
        "budget",
        "Remove contribution.budget",
    ),
    ("accuracy of cgsv", {"contribution": {"method": "cgsv", "utility": "accuracy"}}, "utility", "Remove utility"),
    (
        "cosine of shapley",
        {"privacy": UPDATES, "contribution": {"method": "gtg-shapley", "utility": "cosine"}},
        "utility",
        "balanced-accuracy",
    ),
    (
        "private tensors",
        {"privacy": UPDATES, "model": {"private": ["fc3.*"]}, "contribution": {"method": "gtg-shapley"}},
        "method",
        'method = "cgsv"',
    ),
    (
        "control variates",
        {"privacy": UPDATES, "trainer": {"method": "scaffold"}, "contribution": {"method": "leave-one-out"}},
        "method",
        "leave scaffold out",
    ),
    (
        "clusters",
        {"privacy": UPDATES, "clusters": {"method": "cfl"}, "contribution": {"method": "gtg-shapley"}},
        "method",
        "remove clusters.method",
    ),
    (
        "tiers",
        {"privacy": SKETCHES, "tiers": {"small": {"fraction": 0.25}}, "contribution": {"method": "cgsv"}},
        "method",
        "Remove contribution.method or the classes",
    ),
]


@pytest.mark.parametrize(("tables", "key", "cure"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_work_is_refused_with_a_way_out(tables: Tables, key: str, cure: str) -> None:
    with pytest.raises(SettingsRefused) as caught:
        check_federation(config_of(tables))
    mine = [problem for problem in caught.value.problems if problem.key == f"contribution.{key}"]
    assert mine, [problem.key for problem in caught.value.problems]
    assert any(cure in problem.cure for problem in mine)


@pytest.mark.parametrize(
    ("tables", "data", "method"),
    [
        ({"privacy": UPDATES}, True, "gtg-shapley"),
        ({"privacy": UPDATES}, False, "cgsv"),
        ({"privacy": SKETCHES}, True, "cgsv"),
        ({"privacy": SUMS}, True, ""),
        ({"privacy": SUMS, "round": {"min_clients": 21}}, True, "group-regression"),
        ({"privacy": SKETCHES, "tiers": {"small": {"fraction": 0.25}}}, True, ""),
    ],
)
def test_auto_takes_what_the_mode_and_the_data_allow(tables: Tables, data: bool, method: str) -> None:
    config = config_of(tables | {"contribution": {"method": "auto"}})
    assert not list(scoring_conflicts(config))
    assert method_of(config, data=data) == method


def test_nothing_is_scored_unless_it_is_asked_for() -> None:
    assert method_of(config_of({}), data=True) == ""
