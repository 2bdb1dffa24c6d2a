"""Open files and sockets: a process may have as many as the system lets it, once it asks."""

from __future__ import annotations

import logging
import resource
from contextlib import suppress

WANTED = 4096
"""Below it, a few hundred clients, or somebody who opens connections and says nothing, use them up."""

_MOST = 1 << 20
"""Where the system names no limit: macOS refuses what is far beyond."""

log = logging.getLogger(__name__)


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one; what it is then.

    Units and shells start programs with 1024 as a rule, because of programs that know no more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (_MOST if hard == resource.RLIM_INFINITY else hard, 1 << 16, 10_240):
        if _within(soft, limit):
            break
        if hard == resource.RLIM_INFINITY or limit <= hard:
            with suppress(ValueError, OSError):  # macOS: beyond what its kernel has
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                break
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit = _MOST if soft == resource.RLIM_INFINITY else soft
    if limit < WANTED:
        log.warning(
            "this process may open %d files and sockets, %d are wanted: LimitNOFILE= in its unit", limit, WANTED
        )
    return limit


def _within(soft: int, limit: int) -> bool:
    return soft == resource.RLIM_INFINITY or soft >= limit
