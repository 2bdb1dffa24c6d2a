"""The batch script: read by bash and shellcheck, and run with a Slurm and a client that write down what they hear."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.deployed import DEPLOY, parses, run, tool

SCRIPT = DEPLOY / "slurm" / "client.sbatch"
LINE = "fed.example.org:8444#secret"
PATIENCE_S = 30

CLIENT = """\
#!/bin/bash
echo "$@" > "$HEARD/arguments"
env > "$HEARD/environment"
trap 'echo TERM > "$HEARD/signal"; exit 0' TERM
echo $$ > "$HEARD/up.tmp"; mv "$HEARD/up.tmp" "$HEARD/up"
if [[ -n ${END_WITH:-} ]]; then exit "$END_WITH"; fi
read -r _ < "$HEARD/never"
"""


@pytest.fixture
def heard(tmp_path: Path) -> Path:
    """A folder with the two programs; what they hear is written there."""
    (tmp_path / "bin").mkdir()
    for name, text in {"roughfed": CLIENT, "scontrol": '#!/bin/bash\necho "$@" >> "$HEARD/scontrol"\n'}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    os.mkfifo(tmp_path / "never")
    return tmp_path


def environment(heard: Path, **more: str) -> dict[str, str]:
    base = {"PATH": f"{heard / 'bin'}:/usr/bin:/bin", "HOME": str(heard), "HEARD": str(heard), "SLURM_JOB_ID": "17"}
    return base | {"SLURM_TMPDIR": str(heard)} | more


def ended(heard: Path, *arguments: str, **more: str) -> tuple[int, str]:
    """(exit status, what it printed) of a job whose client ends by itself."""
    done = run("bash", SCRIPT, *arguments, env=environment(heard, **more))
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def job(heard: Path) -> Iterator[subprocess.Popen[str]]:
    """A job whose client runs until it is told to end."""
    command = ["bash", str(SCRIPT), "--data", "digits"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, env=environment(heard), stdout=pipe, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    while not (heard / "up").exists():
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            pytest.fail(f"ended at once: {process.stdout.read() if process.stdout else ''}")
    yield process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def requeued(heard: Path) -> bool:
    found = heard / "scontrol"
    assert not found.exists() or found.read_text() == "requeue 17\n"
    return found.exists()


def test_bash_and_shellcheck_have_nothing_to_say() -> None:
    assert run("bash", "-n", SCRIPT).stderr == ""
    done = run(tool("shellcheck"), "--severity=style", SCRIPT)
    assert (done.returncode, done.stdout) == (0, "")


def test_shellcheck_catches_a_planted_fault(tmp_path: Path) -> None:
    (tmp_path / "client.sbatch").write_text(SCRIPT.read_text().replace('--dir "$dir"', "--dir $dir"))
    assert "SC2086" in run(tool("shellcheck"), tmp_path / "client.sbatch").stdout


def test_slurm_is_told_all_that_it_must_know() -> None:
    lines = SCRIPT.read_text().splitlines()
    directives = dict(re.fullmatch(r"#SBATCH --([\w-]+)(?:=(.*))?", x).groups() for x in lines if x[:8] == "#SBATCH ")  # type: ignore[union-attr]
    assert directives["signal"] == "B:USR1@120", "to the script alone, two minutes before the end"
    assert directives["gres"].startswith("gpu:")
    assert "requeue" in directives
    first_command = next(i for i, x in enumerate(lines) if x and not x.startswith("#"))
    assert max(i for i, x in enumerate(lines) if x.startswith("#SBATCH")) < first_command, "Slurm reads no further"


def test_the_client_gets_the_flags_and_the_line_is_in_a_file(heard: Path) -> None:
    folder = heard / "roughfed-client"
    folder.mkdir()
    (folder / "line").write_text(LINE)
    assert ended(heard, "--data", "digits", END_WITH="0")[0] == 0
    words = (heard / "arguments").read_text().split()
    assert parses(words) == "join"
    assert words == ["join", "--dir", str(folder), "--token-file", str(folder / "line"), "--data", "digits"]
    given = dict(x.split("=", 1) for x in (heard / "environment").read_text().splitlines() if "=" in x)
    assert Path(given["TMPDIR"]).parent == heard
    assert given["NUMBA_CACHE_DIR"].startswith(given["TMPDIR"])
    assert not Path(given["TMPDIR"]).exists(), "scratch is left as it was found"


@pytest.mark.parametrize(
    ("code", "status", "again"),
    [("0", 0, False), ("2", 2, False), ("3", 3, False), ("1", 0, True), ("5", 0, True), ("6", 0, True)],
)
def test_only_what_may_pass_is_tried_again(code: str, status: int, again: bool, heard: Path) -> None:
    assert ended(heard, END_WITH=code)[0] == status
    assert requeued(heard) is again


def test_not_for_ever(heard: Path) -> None:
    status, said = ended(heard, END_WITH="5", SLURM_RESTART_COUNT="5")
    assert (status, requeued(heard)) == (5, False)
    assert "it was 5 times" in said


def test_before_its_time_is_up_the_client_leaves_and_the_job_is_queued_again(
    heard: Path, job: subprocess.Popen[str]
) -> None:
    job.send_signal(signal.SIGUSR1)
    assert job.wait(PATIENCE_S) == 0
    assert (heard / "signal").read_text() == "TERM\n"
    assert requeued(heard)


def test_a_job_that_is_cancelled_leaves_and_stays_away(heard: Path, job: subprocess.Popen[str]) -> None:
    job.send_signal(signal.SIGTERM)
    assert job.wait(PATIENCE_S) == 0
    assert (heard / "signal").read_text() == "TERM\n"
    assert not requeued(heard)
