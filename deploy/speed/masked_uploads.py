"""`roughfed bench uploads --masked`: the same load in a masked round, by whole agents, to the end of the round."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import ExitStack

from roughfed.deploy.speed.crowds import answer, crowded, gather, read, tell
from roughfed.deploy.speed.measure import MIB, Sampler, machine, own_bytes, percentile
from roughfed.deploy.speed.options import UploadsBenchOptions
from roughfed.deploy.speed.uploads import INTERVAL_S
from roughfed.errors import RoughfedError
from roughfed.secagg.groups import SMALLEST

MODULE = "roughfed.deploy.speed.masked_uploaders"
SERVER_SEES = "sketches"
MOST_LEFT_OUT = 0.05
"""Share of the clients that the defence may leave out: it judges random vectors, and left out 2 of 200."""


def run_masked_uploads_bench(options: UploadsBenchOptions) -> dict[str, object]:
    """Let few, then many clients of a masked round upload all at once, each time to a new server.

    Returns:
        the figures; those of few end in `_few`. Memory is RssAnon + RssShmem: "idle" is with everybody before its
        upload, shares dealt; "peak" is that of the whole round: sketches are judged, sums unmasked and committed.
        `seconds` is from the word to go to the last receipt, `round_seconds` to the commit.
    """
    options.check(least=SMALLEST)
    runs = [[once(n, options.params) for n in (options.few, options.clients)] for _ in range(options.repeats)]
    few, many = (min((run[i] for run in runs), key=lambda one: one["server_peak_mib"]) for i in range(2))
    return {
        "bench": "uploads",
        "server_sees": SERVER_SEES,
        "clients": options.clients,
        "few": options.few,
        "params": options.params,
        **many,
        **{f"{name}_few": value for name, value in few.items()},
        "grown_ratio": many["server_grown_mib"] / few["server_grown_mib"],
        "peak_ratio": many["server_peak_mib"] / few["server_peak_mib"],
        "machine": machine(),
    }


def once(clients: int, params: int) -> dict[str, float]:
    """One masked round, of which everybody uploads at the same moment.

    Raises:
        RoughfedError: an upload failed, or the round did not commit with (nearly) everybody in it.
    """
    crowd = crowded(clients, rounds=1, wait_for=clients, params=params, server_sees=SERVER_SEES)
    with crowd as (bench, _, port), ExitStack() as stack:
        if bench.server is None:
            raise RoughfedError("the bench has no server")
        crowds = gather(bench, clients, port, stack, str(params), str(bench.folder), module=MODULE)
        idle = own_bytes(bench.server.pid)
        sampler = stack.enter_context(Sampler(INTERVAL_S))
        track = sampler.watch(bench.server.pid)
        moment = time.time()
        for one in crowds:
            tell(one)
        seconds = [value for one in crowds for value in json.loads(answer(one))]
        if bench.server.wait(timeout=300.0):
            raise RoughfedError(f"the bench's server ended with {bench.server.returncode}")
        end = time.time()
        sizes = [size for (size,) in read(bench, "SELECT size_bytes FROM receipts")]
        ((sets, outcome, closed),) = read(bench, "SELECT sets, outcome, closed_at FROM rounds")
    left_out = Counter(why for why in json.loads(sets).values() if why)
    if outcome != "committed" or len(sizes) != clients or left_out.total() > MOST_LEFT_OUT * clients:
        raise RoughfedError(f"the round of {clients} was {outcome}; {len(sizes)} uploads came, left out: {left_out}")
    return {
        "left_out": left_out.total(),
        "upload_bytes": sum(sizes) / clients,
        "seconds": max(seconds),
        "megabytes_per_second": 1e-6 * sum(sizes) / max(seconds),
        "upload_p50_seconds": percentile(seconds, 0.5),
        "round_seconds": closed - moment,
        "server_cpu_seconds": track.cpu_between(moment, end),
        "server_idle_mib": idle / MIB,
        "server_peak_mib": track.peak_own / MIB,
        "server_grown_mib": (track.peak_own - idle) / MIB,
    }
