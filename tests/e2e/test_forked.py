"""What the other tests stand on: a forked process is like one that was started afresh."""

import os
import signal
import sys

import pytest

from .federation import Process, environment
from .forked import Forked, can_fork

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SPEAK = (
    "import os, signal, sys\n"
    "print(sys.argv[1:], os.environ['MINE'], os.environ.get('OURS'), os.getpid(), __name__)\n"
    "print('torch' in sys.modules, os.environ.get('GRPC_VERBOSITY'), file=sys.stderr)\n"
    "if sys.argv[1] == 'wait': signal.pause()\n"
    "sys.exit(int(sys.argv[1]))\n"
)


def spoken(number: str) -> Process:
    return Process("it", [sys.executable, "-c", SPEAK, number, "a b"], environment() | {"MINE": "yes"})


def test_a_forked_process_is_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_VERBOSITY", "DEBUG")
    one, other = spoken("3"), spoken("wait")
    assert isinstance(one._child, Forked)
    other.wait_line("False DEBUG")  # nobody has imported torch for it
    assert (one.wait(), one.running, other.running) == (3, False, True)
    assert one.lines[0] == f"['3', 'a b'] yes None {one.pid} __main__"
    assert len({one.pid, other.pid, os.getpid()}) == 3
    other.signal(signal.SIGTERM)
    assert other.wait() == -signal.SIGTERM
    killed = spoken("wait")
    killed.wait_line("DEBUG")
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    for process in (one, other, killed):
        process.close()


def test_what_needs_another_python_is_started_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    code = [sys.executable, "-c", "pass"]
    assert can_fork(code, environment())
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", "elsewhere")
        assert not can_fork(code, environment())
    assert not can_fork(code, environment() | {"PYTHONPATH": "elsewhere"})
    assert not can_fork(["/bin/true", "-c"], environment())
    assert not can_fork([sys.executable, "script.py"], environment())
