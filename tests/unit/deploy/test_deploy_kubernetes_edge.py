"""Two levels in a cluster: an edge in each zone, its clients beside it, and nobody talks past it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import PurePosixPath
from typing import Any

import pytest

from roughfed.config import ClientConfig, check_federation, load_client, load_federation
from roughfed.config.edge import check_edge
from roughfed.deploy.edge.run import UPSTREAM, VARIABLE
from tests.unit.deploy.test_deploy_kubernetes import PORTS, ZONES, of
from tests.unit.deployed import DEPLOY

FOLDER = DEPLOY / "kubernetes" / "edge"
TOP = DEPLOY / "kubernetes" / "zones" / "top"
HOME = PurePosixPath("/var/lib/roughfed")
Labels = Mapping[str, str]


def matches(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Whether Kubernetes would say that a selector takes these labels."""
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    assert {e["operator"] for e in selector.get("matchExpressions", [])} <= {"In"}
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", [])
    )


def pod_labels(name: str, *folders: str) -> Labels:
    (found,) = (s for s in of("StatefulSet", *folders) if s["metadata"]["name"] == name)
    return found["spec"]["template"]["metadata"]["labels"]


def spec_of(kind: str, name: str, folder: str = "zones") -> dict[str, Any]:
    (found,) = (each for each in of(kind, folder) if each["metadata"]["name"] == name)
    return found["spec"]


def zone_of(stateful: Mapping[str, Any]) -> str:
    affinity = stateful["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    (expression,) = term["matchExpressions"]
    assert (expression["key"], expression["operator"]) == ("topology.kubernetes.io/zone", "In")
    (zone,) = expression["values"]
    return zone


# -- one edge ----------------------------------------------------------------------------------------------------------


def test_the_settings_of_both_halves_load_and_go_together() -> None:
    below, above = load_federation(FOLDER, {}), load_client(FOLDER, {})
    check_federation(below)
    check_edge(below)
    assert (below.server.http_host, below.server.stay, above.client.stay) == ("0.0.0.0", True, 100)
    assert not above.http.enabled, "its port would be the one that a client has beside it"
    top = load_federation(TOP, {})
    check_federation(top)
    assert above.policy.server_sees == top.privacy.server_sees == "updates"
    assert top.round.min_clients == len(ZONES)
    assert (top.model, top.data.name) == (below.model, below.data.name)


def test_it_reaches_the_server_above_at_the_service_of_that() -> None:
    outside = next(s for s in of("Service", "server") if s["spec"].get("clusterIP") != "None")
    ports = {p["name"]: p["port"] for p in outside["spec"]["ports"]}
    config = load_client(FOLDER, {})
    name = outside["metadata"]["name"]
    assert config.client.server == f"{name}:{ports['federation']}"
    assert config.client.enrol == f"{name}:{ports['enrolment']}"


def test_the_line_and_client_toml_are_where_the_program_looks_for_them() -> None:
    pod = of("StatefulSet", "edge")[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (variable,) = container["env"]
    assert variable["name"] == VARIABLE
    assert set(variable["valueFrom"]) == {"secretKeyRef"}
    mounts = {mount.get("subPath", ""): PurePosixPath(mount["mountPath"]) for mount in container["volumeMounts"]}
    assert mounts[ClientConfig.FILE] == HOME / UPSTREAM / ClientConfig.FILE
    (maker,) = (c for c in pod["initContainers"] if "command" in c)
    assert maker["command"] == ["mkdir", "-p", "-m", "0700", str(HOME / UPSTREAM / "state")]
    assert [m["mountPath"] for m in maker["volumeMounts"]] == [str(HOME)]


# -- two zones ---------------------------------------------------------------------------------------------------------


def test_each_zone_has_one_edge_and_its_clients_and_no_two_zones_share_a_place() -> None:
    places = [{zone_of(stateful) for stateful in of("StatefulSet", folder)} for folder in ZONES]
    assert [len(place) for place in places] == [1, 1]
    assert places[0].isdisjoint(places[1])
    for folder in ZONES:
        names = [
            s["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] for s in of("StatefulSet", folder)
        ]
        assert sorted(names) == ["roughfed-client", "roughfed-edge"]


def test_two_edges_are_never_in_one_zone() -> None:
    for name in ("east-roughfed-edge", "west-roughfed-edge"):
        affinity = spec_of("StatefulSet", name)["template"]["spec"]["affinity"]["podAntiAffinity"]
        (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "topology.kubernetes.io/zone"
        for other in ("east-roughfed-edge", "west-roughfed-edge"):
            assert matches(term["labelSelector"], pod_labels(other, "zones"))
        assert not matches(term["labelSelector"], pod_labels("east-roughfed-client-a", "zones"))


def test_no_selector_takes_the_pods_of_another_workload() -> None:
    workloads = of("StatefulSet", "zones")
    assert len(workloads) == 5
    for one, other in combinations(workloads, 2):
        for this, that in ((one, other), (other, one)):
            assert not matches(this["spec"]["selector"], that["spec"]["template"]["metadata"]["labels"])


@pytest.mark.parametrize("zone", ["east", "west"])
def test_a_service_leads_to_the_edge_of_its_zone_alone(zone: str) -> None:
    for suffix in ("", "-pod"):
        selector = {"matchLabels": spec_of("Service", f"{zone}-roughfed-edge{suffix}")["selector"]}
        taken = [
            s["metadata"]["name"]
            for s in of("StatefulSet", "zones")
            if matches(selector, s["spec"]["template"]["metadata"]["labels"])
        ]
        assert taken == [f"{zone}-roughfed-edge"]
    assert spec_of("StatefulSet", f"{zone}-roughfed-edge")["serviceName"] == f"{zone}-roughfed-edge-pod"


@pytest.mark.parametrize(("zone", "other"), [("east", "west"), ("west", "east")])
def test_an_edge_lets_its_clients_in_and_only_the_server_above_out(zone: str, other: str) -> None:
    policy = spec_of("NetworkPolicy", f"{zone}-roughfed-edge")
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert matches(policy["podSelector"], pod_labels(f"{zone}-roughfed-edge", "zones"))
    clients, watching = policy["ingress"]
    (peer,) = clients["from"]
    assert [p["port"] for p in clients["ports"]] == ["federation", "enrolment"]
    assert matches(peer["podSelector"], pod_labels(f"{zone}-roughfed-client-a", "zones"))
    assert not matches(peer["podSelector"], pod_labels(f"{other}-roughfed-client-a", "zones"))
    assert [p["port"] for p in watching["ports"]] == ["http"]
    above, names = policy["egress"]
    (peer,) = above["to"]
    assert [p["port"] for p in above["ports"]] == [PORTS["federation"], PORTS["enrolment"]]
    assert matches(peer["podSelector"], pod_labels("roughfed-server", "zones"))
    assert not matches(peer["podSelector"], pod_labels(f"{other}-roughfed-edge", "zones"))
    assert {p["port"] for p in names["ports"]} == {53}


@pytest.mark.parametrize(("zone", "other"), [("east", "west"), ("west", "east")])
def test_a_client_calls_the_edge_of_its_zone_alone(zone: str, other: str) -> None:
    policy = spec_of("NetworkPolicy", f"{zone}-roughfed-client-a")
    assert matches(policy["podSelector"], pod_labels(f"{zone}-roughfed-client-a", "zones"))
    assert policy.get("ingress", []) == []
    edge, names = policy["egress"]
    (peer,) = edge["to"]
    assert matches(peer["podSelector"], pod_labels(f"{zone}-roughfed-edge", "zones"))
    assert not matches(peer["podSelector"], pod_labels(f"{other}-roughfed-edge", "zones"))
    assert not matches(peer["podSelector"], pod_labels("roughfed-server", "zones"))
    assert {p["port"] for p in names["ports"]} == {53}


def test_each_has_a_line_of_its_own() -> None:
    lines = list[str]()
    for stateful in of("StatefulSet", "zones"):
        pod = stateful["spec"]["template"]["spec"]
        lines += [v["secret"]["secretName"] for v in pod["volumes"] if v["name"] == "join"]
        lines += [e["valueFrom"]["secretKeyRef"]["name"] for e in pod["containers"][0].get("env", [])]
    assert sorted(lines) == ["east-a-join", "east-upstream", "west-a-join", "west-upstream"]
