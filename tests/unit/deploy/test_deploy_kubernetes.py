"""The manifests: valid for Kubernetes, true about this program, closed where they can be.

`python tests/unit/deploy/test_deploy_kubernetes.py` writes
deploy/kubernetes/monitoring/rules.yaml from deploy/prometheus.
"""

import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from roughfed.config import check_client, check_federation, load_client, load_federation
from roughfed.config.federation import FederationConfig

if __package__:
    from tests.unit.deployed import DEPLOY, UID, parses, run, settings, tool
else:
    DEPLOY = Path(__file__).resolve().parents[3] / "deploy"

FOLDER = DEPLOY / "kubernetes"
VERSION = "1.32"
SERVER = FederationConfig().server
PORTS = {"federation": SERVER.port, "enrolment": SERVER.enrol_port, "http": SERVER.http_port}

RULES_HEAD = """\
# Written by `python tests/unit/deploy/test_deploy_kubernetes.py` from deploy/prometheus; do not edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: roughfed
spec:
"""

# kubernetes-validate knows no custom resources: what the Prometheus operator's definitions say of the keys used here.
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}
DURATION = {"type": "string", "pattern": r"^(0|([0-9]+(ms|[smhdwy]))+)$"}
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


METADATA = closed(["name"], name=NAME, namespace=NAME, labels=STRINGS, annotations=STRINGS)
RULE = closed(
    ["expr"],
    record={"type": "string", "pattern": "^[a-zA-Z_:][a-zA-Z0-9_:]*$"},
    alert={"type": "string", "pattern": "^Roughfed[A-Za-z]+$"},
    expr={"type": "string", "minLength": 1},
    keep_firing_for=DURATION,
    labels=STRINGS,
    annotations=STRINGS,
) | {"oneOf": [{"required": ["record"]}, {"required": ["alert"]}]}
RULE["properties"]["for"] = DURATION
GROUP = closed(["name", "rules"], name={"type": "string"}, interval=DURATION, rules={"type": "array", "items": RULE})
SECRET_KEY = closed(["name", "key"], name=NAME, key={"type": "string"})
ENDPOINT = closed(
    ["port"],
    port={"type": "string"},
    path={"type": "string", "pattern": "^/"},
    interval=DURATION,
    scrapeTimeout=DURATION,
    authorization=closed(["credentials"], type={"const": "Bearer"}, credentials=SECRET_KEY),
)
CUSTOM = {
    "ServiceMonitor": closed(
        ["selector", "endpoints"],
        selector=closed(["matchLabels"], matchLabels=STRINGS),
        jobLabel={"type": "string"},
        endpoints={"type": "array", "minItems": 1, "items": ENDPOINT},
    ),
    "PrometheusRule": closed(["groups"], groups={"type": "array", "minItems": 1, "items": GROUP}),
}


def rules() -> str:
    """The rules of deploy/prometheus as the operator's resource."""
    text = (DEPLOY / "prometheus" / "roughfed.rules.yaml").read_text(encoding="utf-8")
    return RULES_HEAD + textwrap.indent(text[text.index("groups:") :], "  ", lambda line: bool(line.strip()))


@cache
def built(name: str) -> list[dict[str, Any]]:
    """The resources of a kustomization."""
    done = run(tool("kubectl"), "kustomize", FOLDER / name)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def problem(resource: dict[str, Any]) -> str:
    """What is wrong with a resource; empty when nothing is."""
    import jsonschema

    try:
        if resource["apiVersion"] == "monitoring.coreos.com/v1":
            spec = CUSTOM[resource["kind"]]
            whole = closed(["metadata", "spec"], apiVersion={}, kind={}, metadata=METADATA, spec=spec)
            jsonschema.validate(resource, whole)
        else:
            kubernetes_validate.validate(resource, VERSION, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        return error.message
    return ""


def of(kind: str, *folders: str) -> list[dict[str, Any]]:
    return [each for folder in folders for each in built(folder) if each["kind"] == kind]


def pods() -> list[tuple[str, dict[str, Any]]]:
    return [(folder, s["spec"]["template"]["spec"]) for folder in WORKLOADS for s in of("StatefulSet", folder)]


SERVERS = ("server", "edge")
WORKLOADS = (*SERVERS, "client", "client-cuda")
ZONES = ("zones/east", "zones/west")
KUSTOMIZATIONS = (*WORKLOADS, "monitoring", "zones", "zones/top", *ZONES, *(f"{zone}/a" for zone in ZONES))


@pytest.mark.parametrize("name", [*WORKLOADS, "monitoring", "zones"])  # in which are those below it
def test_every_resource_is_valid(name: str) -> None:
    resources = built(name)
    assert resources
    assert {f"{r['kind']}/{r['metadata']['name']}": problem(r) for r in resources if problem(r)} == {}
    assert {r["metadata"].get("namespace", "roughfed") for r in resources} == {"roughfed"}


def test_every_folder_is_looked_at() -> None:
    found = {path.parent.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("kustomization.yaml")}
    assert found == set(KUSTOMIZATIONS)
    files = {path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml"}
    named = {
        (folder.parent / each["path"] if isinstance(each, dict) else folder.parent / each)
        for folder in FOLDER.rglob("kustomization.yaml")
        for key in ("resources", "patches")
        for each in yaml.safe_load(folder.read_text()).get(key, [])
        if isinstance(each, str) or "path" in each
    }
    assert files <= named


@pytest.mark.parametrize(
    ("folder", "kind", "path", "slip"),
    [
        ("server", "StatefulSet", ("spec", "template", "spec"), "enableServiceLink"),
        ("server", "NetworkPolicy", ("spec",), "egres"),
        ("server", "PodDisruptionBudget", ("spec",), "maxUnavailible"),
        ("monitoring", "ServiceMonitor", ("spec",), "endpoint"),
        ("monitoring", "PrometheusRule", ("spec", "groups", 0, "rules", 0), "exprs"),
    ],
)
def test_a_misspelt_key_is_caught(folder: str, kind: str, path: tuple[str | int, ...], slip: str) -> None:
    wrong = yaml.safe_load(yaml.safe_dump(of(kind, folder)[0]))
    inner = wrong
    for step in path:
        inner = inner[step]
    inner[slip] = True
    assert slip in problem(wrong)


def test_kustomize_catches_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [gone.yaml]\n")
    assert "gone.yaml" in run(tool("kubectl"), "kustomize", tmp_path).stderr


def test_the_rules_are_those_of_prometheus() -> None:
    """Else: python tests/unit/deploy/test_deploy_kubernetes.py."""
    assert (FOLDER / "monitoring" / "rules.yaml").read_text(encoding="utf-8") == rules()
    (rule,) = of("PrometheusRule", "monitoring")
    assert rule["spec"] == yaml.safe_load((DEPLOY / "prometheus" / "roughfed.rules.yaml").read_text())


# -- what runs ---------------------------------------------------------------------------------------------------------


def test_every_pod_is_closed() -> None:
    """What the level `restricted` of Pod Security asks for, and a root file system that is read-only."""
    for name, pod in pods():
        outer = pod["securityContext"]
        assert (outer["runAsNonRoot"], outer["runAsUser"], outer["fsGroup"]) == (True, UID, UID), name
        assert outer["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"], name
            assert "latest" not in container["image"], name
            assert ":" in container["image"], name


def test_keys_keep_their_modes() -> None:
    """Kubernetes would otherwise open them for the group at every start, and a key that others read is refused."""
    assert {pod["securityContext"]["fsGroupChangePolicy"] for _, pod in pods()} == {"OnRootMismatch"}


def test_kubernetes_adds_no_variables_that_look_like_settings() -> None:
    assert {pod["enableServiceLinks"] for _, pod in pods()} == {False}


def test_each_container_runs_a_command_that_exists() -> None:
    found = {
        (name, c["name"]): parses(c["args"])
        for name, pod in pods()
        for c in [*pod.get("initContainers", []), *pod["containers"]]
        if "command" not in c
    }
    assert found == {
        ("server", "authority"): "init",
        ("server", "server"): "server",
        ("edge", "authority"): "init",
        ("edge", "edge"): "server",
        ("client", "client"): "join",
        ("client-cuda", "client"): "join",
    }
    for _, pod in pods():
        for container in pod["containers"]:
            settings({e["name"]: e.get("value", "") for e in container.get("env", [])})


def test_every_volume_is_there_and_mounted() -> None:
    for name, pod in pods():
        (claim,) = of("StatefulSet", name)[0]["spec"]["volumeClaimTemplates"]
        volumes = {v["name"] for v in pod["volumes"]} | {claim["metadata"]["name"]}
        containers = [*pod["containers"], *pod.get("initContainers", [])]
        assert {m["name"] for c in containers for m in c["volumeMounts"]} == volumes, name


def test_the_settings_load_and_go_together() -> None:
    server = load_federation(FOLDER / "server", {})
    check_federation(server)
    assert server.server.http_host == "0.0.0.0", "probes and Prometheus come from outside of the pod"
    client = load_client(FOLDER / "client", {})
    check_client(client)
    assert client.client.stay
    assert client.policy.server_sees == server.privacy.server_sees


@pytest.mark.parametrize("folder", SERVERS)
def test_ports_are_those_of_the_settings(folder: str) -> None:
    pod = dict(pods())[folder]
    (container,) = pod["containers"]
    assert {p["name"]: p["containerPort"] for p in container["ports"]} == PORTS
    for service in of("Service", folder):
        assert {p["name"]: p["port"] for p in service["spec"]["ports"]}.items() <= PORTS.items()
    outside = next(s for s in of("Service", folder) if s["spec"].get("clusterIP") != "None")
    assert {p["name"] for p in outside["spec"]["ports"]} == {"federation", "enrolment"}
    (headless,) = (s for s in of("Service", folder) if s["spec"].get("clusterIP") == "None")
    assert of("StatefulSet", folder)[0]["spec"]["serviceName"] == headless["metadata"]["name"]
    assert pod["terminationGracePeriodSeconds"] > SERVER.drain_s


def test_a_client_is_asked_inside_of_its_pod_and_a_server_by_http() -> None:
    from tests.unit.deploy.test_deploy_files import DOCKERFILES, environment, instructions

    port = settings(environment(instructions(DOCKERFILES[0].read_text())))["http.port"].value
    for name, pod in pods():
        (container,) = pod["containers"]
        for probe in ("startupProbe", "livenessProbe"):
            if name in SERVERS:
                assert container[probe]["httpGet"] == {"path": "/healthz", "port": "http"}
            else:
                assert f"http://127.0.0.1:{port}/healthz" in container[probe]["exec"]["command"][2]


def test_only_the_gpu_differs() -> None:
    cpu, cuda = (dict(pods())[name]["containers"][0] for name in ("client", "client-cuda"))
    assert cuda["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in cpu["resources"].get("limits", {})
    assert (cpu["image"], cuda["image"]) == ("roughfed-client:0.2.0-cpu", "roughfed-client:0.2.0-cuda")
    assert {k: v for k, v in cpu.items() if k not in ("image", "resources")} == {
        k: v for k, v in cuda.items() if k not in ("image", "resources")
    }


def test_nothing_but_what_is_needed_goes_through_the_network() -> None:
    for folder in ("server", "client"):
        policies = {p["metadata"]["name"]: p["spec"] for p in of("NetworkPolicy", folder)}
        assert policies["nothing-else"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        ours = policies[f"roughfed-{folder}"]
        labels = of("StatefulSet", folder)[0]["spec"]["template"]["metadata"]["labels"]
        assert ours["podSelector"]["matchLabels"].items() <= labels.items()
    server = next(p["spec"] for p in of("NetworkPolicy", "server") if p["metadata"]["name"] == "roughfed-server")
    everybody = [port["port"] for rule in server["ingress"] if "from" not in rule for port in rule["ports"]]
    assert everybody == ["federation", "enrolment"]


@pytest.mark.parametrize("folder", SERVERS)
def test_prometheus_finds_the_server_and_its_token(folder: str) -> None:
    (monitor,) = of("ServiceMonitor", "monitoring")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    (service,) = (s for s in of("Service", folder) if wanted.items() <= s["metadata"]["labels"].items())
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {p["name"] for p in service["spec"]["ports"]}
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "roughfed-server"
    (token,) = (v["secret"]["secretName"] for v in dict(pods())[folder]["volumes"] if "secret" in v)
    assert endpoint["authorization"]["credentials"] == {"name": token, "key": "token"}


def test_no_secret_is_in_the_files() -> None:
    assert [r for name in KUSTOMIZATIONS for r in built(name) if r["kind"] == "Secret"] == []


if __name__ == "__main__":
    (FOLDER / "monitoring" / "rules.yaml").write_text(rules(), encoding="utf-8")
