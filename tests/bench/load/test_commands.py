"""What people run, with torch trainers: memory, and how soon it is there (`python -m tests.bench commands`)."""

from typing import Any

import pytest

from tests.bench.load.commands import CommandsOptions, run_commands_bench


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_agent_that_has_masked_is_small_again() -> None:
    found: dict[str, Any] = run_commands_bench(CommandsOptions())
    memory, starts = found["memory_mib"], found["starts_s"]
    assert memory["agent"]["anonymous"] <= 64  # the goal is 60; with numba in the agent it was 94
    assert memory["server"]["anonymous"] <= 90
    assert starts["help"] <= 0.6  # the goal is 0.4
    assert starts["server_ready"] <= 4  # the goal is 1.5, and importing torch takes as long
    assert starts["agent_connected"] <= 4
