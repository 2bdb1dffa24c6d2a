"""The README's four commands, typed as they stand there: a server on one machine, clients on another, masks on."""

import json
import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from .federation import read_rows
from .namespaces import FarShell, network
from .walk import lines_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

README = (Path(__file__).parents[2] / "README.md").read_text()
HOSPITALS = "abcd"
DATA = """\
from sklearn.datasets import load_breast_cancer

x, y = load_breast_cancer(return_X_y=True)
x = ((x - x.mean(0)) / x.std(0)).astype("float32")
part, parts = {part}, {parts}
mine = slice(part, None, parts)
train, test = (x[mine][:80], y[mine][:80]), (x[mine][80:], y[mine][80:])
"""
"""What the README's model asks for: each hospital, and the server, has a part of its own."""


def block(heading: str, language: str) -> list[str]:
    """The lines of the first block of a language under a heading."""
    section = README.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found is not None, f"the README has no {language} block under {heading!r}"
    return found[1].splitlines()


def ours(folder: Path, part: int) -> None:
    """The README's my_client.py, and data of one's own beside it."""
    (folder / "my_client.py").write_text("\n".join(block("Your own model and data", "python")))
    (folder / "my_data.py").write_text(DATA.format(part=part, parts=len(HOSPITALS) + 1))


def test_the_four_commands_of_the_readme_make_a_federation(tmp_path: Path) -> None:
    typed = [line for line in block("A secure federation of two machines", "sh") if line and line[0] != "#"]
    init, serve, invite, join = typed
    assert "hospital-a" in invite
    with network("server", "hospitals") as net, ExitStack() as stack:
        machine = FarShell(tmp_path / "server", net, "server")
        stack.callback(machine.close)
        ours(machine.folder, len(HOSPITALS))
        machine.run(init)
        server = machine.start(serve)
        lines_until(server, "listening metrics", machine)
        joined = []
        for part, letter in enumerate(HOSPITALS):
            line = machine.run(invite.replace("hospital-a", f"hospital-{letter}")).stdout.strip()
            assert line.startswith(f"ROUGHFED_JOIN='{net.address('server')}:8444#")
            assert re.sub("'.*'", "''", line) == re.sub("'.*'", "''", join)  # the README's line, and a secret
            hospital = FarShell(tmp_path / letter, net, "hospitals")
            stack.callback(hospital.close)
            ours(hospital.folder, part)
            joined.append((hospital, hospital.start(line)))
        assert lines_until(server, "the server ended", machine)[-1] == "the server ended: rounds\n", machine.logs()
        assert server.wait(timeout=30) == 0
        for hospital, client in joined:
            assert lines_until(client, "the client ended", hospital)[-1] == "the client ended: finished\n"
            assert client.wait(timeout=30) == 0
        state = machine.json("roughfed status", code=6)
        rounds = read_rows(machine.folder / "state" / "journal.db", "SELECT outcome, sets, summary FROM rounds")
    assert (state["finished"], state["model_version"]) == ("rounds", len(rounds))
    assert [row["outcome"] for row in rounds] == ["committed"] * 10
    for row in rounds:
        (group,) = json.loads(row["summary"])["groups"]  # masked: what the server has is the sum of all four
        assert group == {"members": [f"hospital-{letter}" for letter in HOSPITALS], "void": ""}
        assert set(json.loads(row["sets"]).values()) == {""}
    assert float(str(state["balanced_accuracy"])) > 0.7
