"""The owner's word: what `roughfed join` makes of a federation's mode, and what `roughfed status` says of it."""

import asyncio
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from roughfed.client.disclosure.mode import LINE, OWNER, bound, record_bound
from roughfed.client.disclosure.mode import Mode as ClientMode
from roughfed.client.members import credential_files, enrol
from roughfed.client.metrics import ClientMetrics
from roughfed.client.policy import Rules
from roughfed.client.storage.store import ClientStore
from roughfed.config import load_client
from roughfed.config.client import PolicySettings
from roughfed.config.rewriting import write_setting
from roughfed.crypto.join_line import JoinLine
from roughfed.deploy import agent
from roughfed.deploy.agent import ShowsMore
from roughfed.deploy.cli import app as cli
from roughfed.deploy.cli import processes
from roughfed.deploy.doctor.checks.mode import mode as check
from roughfed.errors import ConfigError, ModeRefused
from roughfed.lock import only_one
from roughfed.mode import MODES, shows_more, strictest
from roughfed.server.members.authority import Authority
from tests.unit.clock import present
from tests.unit.deploy.doctor.doctor_sites import client_folder, one, server_folder, site, states

CA = bytes(range(32))
DATA = ["--data", "digits", "--clients", "2", "--index", "0", "--no-run"]


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    for name in ("ROUGHFED_JOIN", "ROUGHFED_POLICY__SERVER_SEES", processes.SHARED_HOST):
        monkeypatch.delenv(name, raising=False)


def line(mode: str) -> JoinLine:
    return JoinLine("fed.example.org", 8444, bytes(32), CA, mode)


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture
def enrolling(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Enrolments that got as far as the CA."""
    asked: list[Path] = []

    async def enroll(_line: JoinLine, folder: Path) -> None:
        asked.append(folder)

    monkeypatch.setattr(enrol, "enroll", enroll)
    return asked


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("held", ["", *MODES])
@pytest.mark.parametrize("policy", MODES)
@pytest.mark.parametrize("told", ["", *MODES])
def test_a_line_is_used_only_where_the_owner_shows_as_much(
    tmp_path: Path, enrolling: list[Path], told: str, policy: str, held: str, typed: bool
) -> None:
    (tmp_path / "state").mkdir()
    if held:
        with closing(ClientStore(tmp_path / "state")) as store:
            asyncio.run(record_bound(store, CA, held, LINE))
    most = policy if typed or not held else strictest(policy, held)
    joined = agent.join(tmp_path, line(told), policy=policy, typed=typed)
    if told and shows_more(told, most):
        with pytest.raises(ShowsMore) as refused:
            asyncio.run(joined)
        assert ("single training images" in str(refused.value)) == (told == "updates")
        assert enrolling == []  # the line is still good
        return
    asyncio.run(joined)
    with closing(ClientStore(tmp_path / "state")) as store:
        noted = bound(store, CA)
    assert noted is not None
    assert noted.said == (OWNER if typed else LINE)
    assert noted.mode == (most if typed or not told else strictest(most, told))


def test_a_federation_in_updates_is_refused_with_the_command_to_type(
    tmp_path: Path, enrolling: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROUGHFED_JOIN", line("updates").reveal())
    folder = tmp_path / "my client"
    folder.mkdir()
    assert cli.run(["join", *DATA, "--dir", str(folder), "--json"]) == 2
    error = said(capsys)["error"]
    assert error["reason"] == "mode"
    assert "the whole update of this client" in error["cause"]
    assert "single training images can be rebuilt" in error["cause"]
    command = f"roughfed join --accept updates --dir '{folder}' --data digits --clients 2 --index 0 --no-run"
    assert error["cure"].endswith(f"ROUGHFED_JOIN='...' {command}")
    assert enrolling == []
    assert not (folder / "client.toml").exists()


@pytest.mark.parametrize("mode", ["update", "all", "SUMS"])
def test_a_word_that_is_no_mode_is_refused_first(tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str) -> None:
    assert cli.run(["join", "--accept", mode, *DATA, "--dir", str(tmp_path), "--json"]) == 2
    assert said(capsys)["error"]["key"] == "--accept"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.open(server_folder(tmp_path / "server") / "state" / "ca")


def shown_to(folder: Path) -> str:
    """The most, as the next start of the client has it."""
    papers = credential_files.load(agent.ClientFiles(folder).papers)
    with closing(ClientStore(folder / "state")) as store:
        mode = ClientMode(store, load_client(folder, {}).policy.server_sees, ClientMetrics())
        return asyncio.run(
            mode.narrow(Rules(PolicySettings(server_sees="updates", max_model_bytes=1)), papers.ca_certificate)
        ).policy.server_sees


def test_accept_in_a_directory_that_is_enrolled_is_noted_and_written(
    tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = client_folder(tmp_path / "c0", authority)
    here = ["--dir", str(folder), "--json"]
    assert shown_to(folder) == "sketches"
    (folder / "client.toml").write_text((folder / "client.toml").read_text() + '[policy]\nserver_sees = "updates"\n')
    assert shown_to(folder) == "sketches"
    with only_one(folder / "state", "client", cure="stop it"):
        assert cli.run(["join", "--accept", "updates", "--no-run", *here]) == 2
        assert "stop that client" in said(capsys)["error"]["cure"]
    assert shown_to(folder) == "sketches"
    for mode in ("updates", "sums", "sketches"):
        assert cli.run(["join", "--accept", mode, "--no-run", *here]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out.splitlines()[-1])["server_sees"] == mode
        assert ("single training images can be rebuilt" in err) == (mode == "updates")
        assert load_client(folder, {}).policy.server_sees == mode
        assert shown_to(folder) == mode


def test_the_status_of_a_client(tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]) -> None:
    folder = client_folder(tmp_path / "c0", authority)
    assert cli.run(["status", "--dir", str(folder), "--json"]) == 6
    found = said(capsys)
    assert (found["role"], found["running"], found["name"], found["federation"]) == ("client", False, "c0", "test")
    assert (found["server"], found["server_sees"], found["accepted"], found["refused"]) == (
        "127.0.0.1:9", "sketches", None, [],
    )  # fmt: skip
    assert found["certificate_ends"] > present().timestamp()
    assert states(check(site(folder)))[""] == "ok"

    papers = credential_files.load(agent.ClientFiles(folder).papers)
    with closing(ClientStore(folder / "state")) as store:
        mode = ClientMode(store, "sketches", ClientMetrics())
        asyncio.run(
            mode.narrow(Rules(PolicySettings(server_sees="sketches", max_model_bytes=1)), papers.ca_certificate)
        )
        asyncio.run(mode.refuse(ModeRefused(asked="updates", held="sketches", run="run-9")))
    with only_one(folder / "state", "client", cure=""):
        assert cli.run(["status", "--dir", str(folder)]) in (0, 6)  # the lock is this very process's
    out, err = capsys.readouterr()
    assert "it may see   sketches at most (sketches since " in out
    assert "the server asked to see updates, 1 time, last " in err
    assert "(run run-9): refused, since this client shows sketches at most" in " ".join(err.split())
    assert cli.run(["status", "--dir", str(folder), "--json"]) == 6
    (refused,) = said(capsys)["refused"]
    assert (refused["mode"], refused["held"], refused["run"], refused["times"]) == ("updates", "sketches", "run-9", 1)
    finding = one(check(site(folder)), "refused")
    assert (finding.state, finding.measured) == ("warning", "1 time, last in run run-9")

    assert cli.run(["status", "--dir", str(folder), "--watch", "--json"]) == 2
    assert said(capsys)["error"]["key"] == "--watch"
    assert cli.run(["status", "--dir", str(tmp_path), "--json"]) == 6  # neither a client nor a server
    assert "no directory of a server" in said(capsys)["error"]["cause"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('[policy]\n# server_sees = "sketches"\nmax_rounds = 3\n', '[policy]\nserver_sees = "sums"\nmax_rounds = 3\n'),
        ("[policy]\nserver_sees = 'updates'  # as agreed\n", '[policy]\nserver_sees = "sums"\n'),
        ("[policy]\nmax_rounds = 3\n[http]\n", '[policy]\nserver_sees = "sums"\nmax_rounds = 3\n[http]\n'),
        ("[http]\nport = 0", '[http]\nport = 0\n\n[policy]\nserver_sees = "sums"\n'),
        ("", '\n[policy]\nserver_sees = "sums"\n'),
        ('[policy]\nserver_sees = "sums" # kept\n', '[policy]\nserver_sees = "sums" # kept\n'),
        ('[other]\nserver_sees = "x"\n[policy]\n', '[other]\nserver_sees = "x"\n[policy]\nserver_sees = "sums"\n'),
    ],
)
def test_one_setting_is_written_and_all_else_stays(tmp_path: Path, before: str, after: str) -> None:
    (path := tmp_path / "client.toml").write_text(before)
    path.chmod(0o640)
    write_setting(path, "policy.server_sees", "sums")
    assert path.read_text() == after
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "text",
    ['policy = { server_sees = "updates" }\n', 'policy.server_sees = "updates"\n', "[policy\n", "policy = 3\n",
     '[http]\nx = """\n[policy]\n"""\n'],
)  # fmt: skip
def test_a_file_that_cannot_be_changed_stays_and_the_owner_is_told(tmp_path: Path, text: str) -> None:
    (path := tmp_path / "client.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        write_setting(path, "policy.server_sees", "sums")
    assert 'server_sees = "sums" in [policy]' in caught.value.cure
    assert path.read_text() == text
