"""Dockerfiles, compose.yaml: read by the tools that they are for, and true about this program."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from roughfed.config import load_federation
from roughfed.config.federation import FederationConfig
from tests.unit.deployed import DEPLOY, PROGRAM, ROOT, UID, parses, run, settings, tool

DOCKERFILES = sorted((DEPLOY / "docker").glob("*.Dockerfile"))
SERVER = FederationConfig().server
PORTS = {"server": {SERVER.port, SERVER.enrol_port, SERVER.http_port}, "client": set[int]()}


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, the rest on one line) of a Dockerfile, in order."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(None, 1)[0], " ".join(line.split(None, 1)[1].split())) for line in joined.splitlines()]


def values(found: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for instruction, rest in found if instruction == name]


def environment(found: list[tuple[str, str]]) -> dict[str, str]:
    return dict(word.split("=", 1) for rest in values(found, "ENV") for word in shlex.split(rest))


# -- Dockerfiles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    done = run(tool("hadolint"), "--failure-threshold", "style", path)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_catches_a_planted_fault(tmp_path: Path) -> None:
    text = DOCKERFILES[0].read_text().replace("WORKDIR /src", "WORKDIR src")
    (tmp_path / "Dockerfile").write_text(text)
    assert "DL3000" in run(tool("hadolint"), tmp_path / "Dockerfile").stdout


def test_there_is_one_for_each_kind() -> None:
    assert [path.stem for path in DOCKERFILES] == ["client-cpu", "client-cuda", "server"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_an_image_starts_the_program_as_nobody_special(path: Path) -> None:
    found = instructions(path.read_text())
    role = path.stem.partition("-")[0]

    assert values(found, "USER") == [f"{UID}:{UID}"]
    assert values(found, "STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(values(found, "ENTRYPOINT")[0]) == ["roughfed"]
    assert parses(json.loads(values(found, "CMD")[0])) == {"server": "server", "client": "join"}[role]
    assert {int(port) for rest in values(found, "EXPOSE") for port in rest.split()} == PORTS[role]
    assert not any(re.search(r"(?i)secret|token|password|join=", rest) for rest in values(found, "ENV"))
    assert not values(found, "ADD")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_an_image_asks_after_its_health_where_it_answers(path: Path) -> None:
    found = instructions(path.read_text())
    (check,) = values(found, "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    given = {key: s.value for key, s in settings(environment(found)).items()}
    port = given["http.port"] if "client" in path.stem else SERVER.http_port

    assert command[:2] == ["python", "-c"]
    compile(command[2], "healthcheck", "exec")
    assert f"http://127.0.0.1:{port}/healthz" in command[2]
    if "client" in path.stem:
        assert given["client.stay"] == 10


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_bases_are_pinned_and_named_once(path: Path) -> None:
    found = instructions(path.read_text())
    (base,) = [arg for arg in values(found, "ARG") if "=" in arg]
    name, _, image = base.partition("=")
    stages = {rest.split(" AS ")[1] for rest in values(found, "FROM") if " AS " in rest}

    assert re.fullmatch(r"[a-z/]+:\d+\.\d+[\w.-]*", image), image
    assert {rest.split(" AS ")[0] for rest in values(found, "FROM")} <= {f"${{{name}}}"} | stages


def sources(path: Path) -> list[str]:
    """What is copied out of the source tree."""
    copies = [rest for rest in values(instructions(path.read_text()), "COPY") if not rest.startswith("--from")]
    return [word for rest in copies for word in rest.split()[:-1]]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_what_is_copied_is_there_and_let_through(path: Path) -> None:
    """`.dockerignore` lets nothing through but this."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(sources(path)) == allowed
    assert all((ROOT / source).exists() for source in allowed)


def test_nothing_that_is_ignored_belongs_to_the_package() -> None:
    """Settings files are examples, and none of them is part of a package."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
    for folder in ("shared", "server", "client", "deploy"):
        inside = [p for p in (ROOT / folder).rglob("*") if any(p.match(pattern) for pattern in patterns)]
        assert [p for p in inside if "__pycache__" not in p.parts and p.suffix != ".toml"] == []


@pytest.mark.slow
def test_the_wheel_is_built_from_what_is_copied(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    for source in sources(DOCKERFILES[0]):
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, tmp_path / "src" / source)
    wheel = ["wheel", "--quiet", "--no-cache-dir", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path / "out"]
    done = run(sys.executable, "-m", "pip", *wheel, ".", cwd=tmp_path / "src")
    assert done.returncode == 0, done.stderr
    assert [p.name.split("-")[0] for p in (tmp_path / "out").glob("*.whl")] == ["roughfed"]


# -- compose -----------------------------------------------------------------------------------------------------------

COMPOSE = DEPLOY / "compose.yaml"


def compose(path: Path) -> Any:
    """The file as compose understands it, or its complaint."""
    docker = tool("docker")
    if run(docker, "compose", "version").returncode:
        pytest.skip("needs docker compose (make tools)")
    env = {"ROUGHFED_ADDRESS": "fed.example.org:8443", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    done = run(docker, "compose", "-f", path, "--profile", "*", "config", "--format", "json", env=env)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    found = compose(COMPOSE)
    assert isinstance(found, dict), found
    return found


def test_compose_understands_the_file(composed: dict[str, Any]) -> None:
    assert set(composed["services"]) == {"authority", "server", "prometheus", "alertmanager", "client"}


def test_compose_catches_a_planted_fault(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE.read_text().replace("cap_drop:", "cap_dropp:"))
    assert "cap_dropp" in compose(tmp_path / "compose.yaml")


def test_compose_asks_for_the_address() -> None:
    done = run(
        tool("docker"), "compose", "-f", COMPOSE, "config", env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    )
    assert done.returncode != 0
    assert "fed.example.org:8443" in done.stderr


def test_each_container_is_closed(composed: dict[str, Any]) -> None:
    for name, service in composed["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        published = [p for p in service.get("ports", []) if p.get("host_ip") != "127.0.0.1"]
        assert {p["target"] for p in published} <= {SERVER.port, SERVER.enrol_port}, name
        assert ":" in service["image"], name
        assert not service["image"].endswith(":latest"), name


def test_each_container_of_ours_runs_a_command_that_exists(composed: dict[str, Any]) -> None:
    ours = {name: s for name, s in composed["services"].items() if s["image"].startswith("roughfed-")}
    assert {name: parses(s["command"]) for name, s in ours.items()} == {
        "authority": "init",
        "server": "server",
        "client": "join",
    }
    for service in ours.values():
        settings(service.get("environment", {}))
        assert (ROOT / service["build"]["dockerfile"]).is_file()
        for mount in service.get("tmpfs", []):
            assert "uid=" not in mount or f"uid={UID},gid={UID}" in mount


def test_a_server_ends_before_it_is_killed(composed: dict[str, Any]) -> None:
    assert composed["services"]["server"]["stop_grace_period"] == "1m30s"
    assert SERVER.drain_s < 90


def test_prometheus_knows_the_token_that_the_server_asks_for(composed: dict[str, Any]) -> None:
    from roughfed.server.observe.http import TOKEN_FILE

    server, prometheus = composed["services"]["server"], composed["services"]["prometheus"]
    given = {s["source"]: s.get("target") for s in server["secrets"]}
    (volume,) = [v["target"] for v in server["volumes"] if v["type"] == "volume"]
    assert given == {"http_token": f"{volume}/state/{TOKEN_FILE}"}
    assert {s["source"] for s in prometheus["secrets"]} == {"http_token"}
    told = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    assert "/run/secrets/http_token" in told
    assert f"server:{SERVER.http_port}" in told
    for service in ("prometheus", "alertmanager"):
        for mount in composed["services"][service]["volumes"]:
            assert mount["type"] == "volume" or Path(mount["source"]).is_file(), mount


def test_no_secret_is_in_the_file(composed: dict[str, Any]) -> None:
    assert all(set(secret) <= {"name", "file"} for secret in composed["secrets"].values())
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text()
    assert "deploy/secrets" in (ROOT / ".dockerignore").read_text()


def test_the_settings_that_come_along_are_right(tmp_path: Path, composed: dict[str, Any]) -> None:
    from roughfed.config import check_federation

    assert Path(composed["configs"]["fed"]["file"]) == DEPLOY / "docker" / "fed.toml"
    env = composed["services"]["server"]["environment"]
    config = load_federation(DEPLOY / "docker", env)
    check_federation(config)
    assert (config.server.address, config.server.http_host) == ("fed.example.org:8443", "0.0.0.0")


# -- all of them -------------------------------------------------------------------------------------------------------

FILES = sorted(
    path
    for folder in ("docker", "kubernetes", "slurm", "systemd", "compose.yaml")
    for path in ([DEPLOY / folder] if (DEPLOY / folder).is_file() else (DEPLOY / folder).rglob("*"))
    if path.is_file() and path.suffix != ".pyc"
)
COMMAND = re.compile(r"(?:^|[\s`/\"])roughfed ((?:[a-z][a-z-]*)(?: [^`#)\n]*)?)")


def commands(text: str) -> list[list[str]]:
    """The words after `roughfed` of every command that comments and strings of a file name."""
    names = set(getattr(PROGRAM, "commands", {}))
    found = [match[1].rstrip(" .,:;\"'").split("  ")[0] for match in COMMAND.finditer(text)]
    return [words for words in (re.sub(r"[\"',]", "", line).split() for line in found) if words[0] in names]


def test_every_command_that_a_file_names_has_its_flags() -> None:
    """Whoever copies a line out of a comment must not be told that there is no such flag."""
    seen = [(path.name, words) for path in FILES for words in commands(path.read_text(encoding="utf-8"))]
    assert {words[0] for _, words in seen} >= {"init", "server", "invite", "join", "backup"}
    for name, words in seen:
        known = {flag for each in PROGRAM.commands[words[0]].params for flag in each.opts}  # type: ignore[attr-defined]
        assert {word for word in words if word.startswith("-") and len(word) > 1} <= known, (name, words)


def test_a_flag_that_is_gone_is_found_in_a_comment() -> None:
    assert commands("#   x && /opt/roughfed/bin/roughfed init --no-such-flag --dir D   # why") == [
        ["init", "--no-such-flag", "--dir", "D"]
    ]
