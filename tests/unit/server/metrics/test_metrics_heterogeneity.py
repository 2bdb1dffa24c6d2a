"""What the server's metrics say of clients that differ, out of the journaled summary of a round."""

from __future__ import annotations

import math
from typing import Any

import pytest

from roughfed.report.words import FREE_RIDING
from roughfed.server.extensions.free_riders import detection
from roughfed.server.metrics import ServerMetrics
from roughfed.server.metrics.contribution import FREE_RIDERS
from roughfed.server.metrics.groupings import CLUSTERS
from tests.unit.heterogeneous_rounds import summary
from tests.unit.server.metrics.test_metrics import samples


def test_a_summary_tells_of_clients_that_differ() -> None:
    m = ServerMetrics(labels={"class": ("fast",)})
    m.summarized(summary(1))
    m.summarized(summary(2))
    page = samples(m.render())
    expected = {
        "client_accuracy_ratio{model=global,part=mean}": 0.52,
        "client_accuracy_ratio{model=alone,part=worst10}": 0.5,
        "client_accuracy_clients{model=personal}": 3,
        "worse_than_alone_ratio": 1 / 3,
        "fairness_weight_ratio{part=highest}": 3.0,
        "clusters": 2,
        "cluster_clients{cluster=0}": 2,
        "cluster_events_total{event=split}": 1,
        "class_clients{class=fast}": 2,
        "class_clients{class=other}": 1,
        "class_upload_bytes{class=other}": 256,
        "class_void_total{class=other}": 1,
        "contribution_clients": 3,
        "contribution_score{part=median}": 0.02,
        "contribution_evaluations_total": 80,
        "free_riders_total{reason=zero}": 1,
        "reward_quality_ratio{part=lowest}": 0.5,
        "client_contribution_score{client=eve}": 0.04,
    }
    assert {name: page["roughfed_" + name] for name in expected} == pytest.approx(expected)


def test_what_a_summary_does_not_know_is_not_told() -> None:
    m = ServerMetrics()
    before = samples(m.render())
    m.summarized({"seconds": 1.0, "spread": None, "cluster": None, "tiers": []})
    after = samples(m.render())
    assert {name for name in before if not name.startswith("roughfed_process")} <= after.keys()
    assert math.isnan(after["roughfed_worse_than_alone_ratio"])
    assert not any("accuracy_ratio" in name for name in after)

    m.summarized({"fairness": {"rule": "term", "weights": {"histogram": [1, 2]}}})
    assert math.isnan(samples(m.render())["roughfed_fairness_weight_ratio{part=median}"])


@pytest.mark.parametrize("kwargs", [{"scores": False, "per_client": "all"}, {"per_client": "off"}])
def test_contributions_of_single_clients_are_shown_only_where_they_may_be(kwargs: dict[str, Any]) -> None:
    m = ServerMetrics(**kwargs)
    m.summarized(summary(1))
    assert samples(m.render())["roughfed_contribution_clients"] == 3
    assert not any("client_contribution_score" in name for name in samples(m.render()))


def test_every_free_rider_has_a_label_and_words() -> None:
    assert set(detection.KINDS) == set(FREE_RIDERS)
    assert set(detection.KINDS) == FREE_RIDING.keys()


def test_a_great_many_clusters_are_still_few_series() -> None:
    m = ServerMetrics()
    m.clusters({"clusters": {f"c{i}": ["ann"] for i in range(500)}, "event": "made up"})
    page = samples(m.render())
    assert page["roughfed_clusters"] == 500
    assert page["roughfed_cluster_clients{cluster=other}"] == 500
    assert page["roughfed_cluster_events_total{event=other}"] == 1
    assert sum("cluster_clients" in name for name in page) == len(CLUSTERS) + 1


def test_scores_that_come_after_the_rest_count_nothing_twice() -> None:
    m = ServerMetrics()
    m.summarized({"contribution": {"free_riders": {"ann": "noise"}, "evidence": {}}})
    m.contribution({"method": "cgsv", "evaluations": 3, "scores": {"ann": {"total": 0.5}, "bob": {}}})
    m.contribution({"levels": {"ann": 0.75}})
    page = samples(m.render())
    assert page["roughfed_free_riders_total{reason=noise}"] == 1
    assert page["roughfed_contribution_score{part=median}"] == 0.5
    assert page["roughfed_contribution_evaluations_total"] == 3
    assert page["roughfed_reward_quality_ratio{part=lowest}"] == 0.75
