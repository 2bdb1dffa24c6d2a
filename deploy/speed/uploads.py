"""`roughfed bench uploads`: many clients that all upload at once, and whether the server's memory grows with them."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack

from roughfed.deploy.speed.crowds import answer, crowded, gather, name_of, tell
from roughfed.deploy.speed.measure import MIB, Sampler, machine, own_bytes, percentile
from roughfed.deploy.speed.options import UploadsBenchOptions
from roughfed.errors import RoughfedError

MODULE = "roughfed.deploy.speed.uploaders"

INTERVAL_S = 0.005
"""Between two looks at the memory: ten uploads of 4 MB are over in 0.1 s."""


def run_uploads_bench(options: UploadsBenchOptions) -> dict[str, object]:
    """Let few clients, few of many that are connected, and many clients upload all at once, each time to a new server.

    Returns:
        the figures. Memory is RssAnon + RssShmem; "idle" is with all sessions open and before the first upload, "grown"
        the peak above it. Figures of few that are alone end in `_few`, those of few among many in `_few_of_many`.
    """
    options.check(least=1)
    kinds = ((options.few, options.few), (options.clients, options.few), (options.clients, options.clients))
    runs = [[once(*kind, options.params) for kind in kinds] for _ in range(options.repeats)]
    few, among, many = (min((run[i] for run in runs), key=lambda one: one["server_peak_mib"]) for i in range(3))
    return {
        "bench": "uploads",
        "clients": options.clients,
        "few": options.few,
        "params": options.params,
        **many,
        **{f"{name}_few": value for name, value in few.items()},
        **{f"{name}_few_of_many": value for name, value in among.items()},
        "peak_ratio": many["server_peak_mib"] / few["server_peak_mib"],
        "peak_ratio_connected": many["server_peak_mib"] / among["server_peak_mib"],
        "grown_ratio": many["server_grown_mib"] / few["server_grown_mib"],
        "machine": machine(),
    }


def once(clients: int, uploading: int, params: int) -> dict[str, float]:
    """One round: everybody has its job, then `uploading` of them upload, and the others have refused.

    Raises:
        RoughfedError: an upload failed, or the round did not commit.
    """
    crowd = crowded(clients, rounds=1, wait_for=clients, params=params, quorum=uploading / clients)
    with crowd as (bench, _, port), ExitStack() as stack:
        if bench.server is None:
            raise RoughfedError("the bench has no server")
        arguments = (str(params), str(bench.folder), name_of(uploading))
        crowds = gather(bench, clients, port, stack, *arguments, module=MODULE)
        idle = own_bytes(bench.server.pid)
        sampler = stack.enter_context(Sampler(INTERVAL_S))
        track = sampler.watch(bench.server.pid)
        began, moment = time.perf_counter(), time.time()
        for one in crowds:
            tell(one)
        seconds = [value for one in crowds for value in json.loads(answer(one))]
        took, end = time.perf_counter() - began, time.time()
        cpu = track.cpu_between(moment, end)
        if bench.server.wait(timeout=120.0):
            raise RoughfedError(f"the bench's server ended with {bench.server.returncode}")
    if len(seconds) != uploading:
        raise RoughfedError(f"{len(seconds)} of {uploading} uploads came through")
    return {
        "seconds": took,
        "megabytes_per_second": 4e-6 * params * uploading / took,
        "upload_p50_seconds": percentile(seconds, 0.5),
        "upload_max_seconds": max(seconds),
        "server_cpu_seconds": cpu,
        "server_idle_mib": idle / MIB,
        "server_peak_mib": track.peak_own / MIB,
        "server_grown_mib": (track.peak_own - idle) / MIB,
    }
