"""What holds for every test: one thread for numeric code, and no quiet skips in CI.

A test that lacks a tool skips with a reason that starts with "needs "; where CI=true that is a failure, unless what is
missing is a GPU, which cannot be installed.
"""

import os
import signal
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before the first import of numpy and torch; child processes inherit it
# And one for each trainer process, however many tests there are beside it: their number changes the last bits of a sum.
os.environ.setdefault("ROUGHFED_CLIENTS_ON_HOST", str(os.cpu_count() or 1))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's `&` starts it; what tests start must heed Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("local", deadline=None)  # a shared machine makes deadlines lie
settings.load_profile("ci" if os.environ.get("CI") == "true" else "local")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take a seed for what tests draw anew each time."""
    about = "which pairs of deaths are played (tests/e2e/test_masked_pairs.py); 0, the same ones every time"
    parser.addoption("--pairs-seed", type=int, default=0, metavar="N", help=about)


def pytest_report_header(config: pytest.Config) -> str:
    """Say it, so that what failed can be played again."""
    return f"--pairs-seed {config.getoption('pairs_seed')}"


@pytest.fixture
def pairs_seed(request: pytest.FixtureRequest) -> int:
    """What `--pairs-seed` says."""
    return request.config.getoption("pairs_seed")


def _missing_tool(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The reason of a skip that must not happen in CI, or an empty string."""
    if os.environ.get("CI") != "true" or not report.skipped or not isinstance(report.longrepr, tuple):
        return ""
    reason = str(report.longrepr[2]).removeprefix("Skipped: ")
    wanted = reason.removeprefix("needs ").lower()
    installable = reason.startswith("needs ") and not any(word in wanted for word in ("gpu", "cuda"))
    return reason if installable else ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, pytest.TestReport]:
    """Turn such a skip of a test into a failure."""
    report = yield
    if reason := _missing_tool(report):
        report.outcome, report.longrepr = "failed", f"{item.nodeid} skipped where CI=true: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, pytest.CollectReport]:
    """Turn such a skip of a whole module into a failure."""
    report = yield
    if reason := _missing_tool(report):
        report.outcome, report.longrepr = "failed", f"{collector.nodeid} skipped where CI=true: {reason}"
    return report
