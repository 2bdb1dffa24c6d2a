"""How many series a page has after a long and eventful run: 500, whatever happened, and those of single clients."""

from __future__ import annotations

from roughfed.config.federation import FederationConfig
from roughfed.server.metrics import ServerMetrics
from roughfed.server.metrics.calls import REFUSALS
from roughfed.server.metrics.client_series import LIMITS
from roughfed.server.metrics.clients import CLIENT_STATES
from roughfed.server.metrics.contribution import FREE_RIDERS
from roughfed.server.metrics.defence import DEFENCE_REASONS
from roughfed.server.metrics.operation import PAGES
from roughfed.server.metrics.rounds import DROPOUTS, PHASES
from roughfed.server.metrics.stopwatch import Spent
from roughfed.server.metrics.updates import REASONS, STAGE_REASONS
from roughfed.server.observe.gauges import metrics_of
from tests.unit.heterogeneous_rounds import summary
from tests.unit.server.metrics.test_metrics import samples

MOST = 520
CODES = ("OK", "CANCELLED", "PERMISSION_DENIED", "FAILED_PRECONDITION", "INVALID_ARGUMENT")


def eventful(page: ServerMetrics) -> None:
    """Everything that may happen in a long run with one setting."""
    for phase in (*PHASES, "waiting"):  # the seconds of one are told when the next begins
        page.phase(phase)
    for method in ("Session", "GetModel", "PutUpdate", "UpdateStatus"):
        page.rpc_started(method)
        for code in CODES:
            page.rpc_handled(method, code, 0.1)
    work = ("sign", "verify", "shares", "unmask")
    page.worked({Spent("decode", "lanes"): 1.0, Spent("encode", "int8"): 1.0, **{Spent(op): 1.0 for op in work}})
    for reason in DROPOUTS:
        page.dropout("report", reason)
    for reason in REASONS:
        page.update("rejected", reason)
    for reason in (*REFUSALS, "calls"):
        page.refused(reason)
    for reason in (*STAGE_REASONS, "weight"):
        page.stage_refused(reason)
    for reason in (*DEFENCE_REASONS, "a reason of one's own"):
        page.excluded("default", reason)
    page.aggregated("examples", 1.0, norm=1.0)
    page.defended("default", 1.0, rows=9, tolerated=1, scores={"a": 1.0}, weights={"a": 1.0})
    page.evaluated(accuracy={"global": 0.5, "tail": 0.1}, loss=1.0, macro_f1=0.5, calibration_error=0.1, forgetting=0.0)
    for number in (1, 2):
        page.summarized(summary(number))
    page.contribution({"free_riders": dict.fromkeys(FREE_RIDERS, "zero")})
    page.clients(dict.fromkeys(CLIENT_STATES, 1))
    page.fleet({"fleet_resident_bytes": [1.0, 2.0]})
    for name in PAGES:
        page.http(f"/{name}", 200)


def test_a_long_and_eventful_run_stays_within_its_series() -> None:
    page = metrics_of(FederationConfig.model_validate({"metrics": {"per_client": "all"}}))
    eventful(page)
    for number in range(1000):
        for _ in range(2):
            page.update("accepted", client=f"c{number}")
        page.seen(f"c{number}")
        page.excluded("default", "krum", client=f"c{number}")
        page.contribution({"scores": {f"c{number}": {"total": 0.5}}})
    found = samples(page.render())
    of_clients = [name for name in found if "client=" in name]

    assert len(found) - len(of_clients) <= MOST
    assert len(of_clients) <= 4 * (LIMITS["all"] + 1)


def test_nothing_that_happens_again_makes_another_series() -> None:
    page = metrics_of(FederationConfig())
    eventful(page)
    before = samples(page.render()).keys()
    for _ in range(3):
        eventful(page)
    assert samples(page.render()).keys() == before
