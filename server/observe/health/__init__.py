"""Is the federation well? Each alert is one function over plain figures and one row; Prometheus has the same names.

`signs.py` has the figures and `reading.py` takes them from a running server; `standing.py` keeps since when each alert
stands. The functions are in `rounds.py`, `updates.py`, `learning.py` and `machine.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from roughfed.server.observe.health import learning, machine, rounds, updates
from roughfed.server.observe.health.alert import Rule

ALERTS: Mapping[str, Rule] = MappingProxyType(
    {
        "RoundStalled": Rule(
            "critical",
            "a round is open long after its deadline, or none although nothing is missing",
            rounds.stalled,
        ),
        "RoundsAbandoned": Rule("warning", "2 rounds in a row brought nothing (critical: 4)", rounds.abandoned),
        "RunPaused": Rule(
            "critical", "the server paused the run after abandoned rounds (info: you did, an hour ago)", rounds.paused
        ),
        "ParticipationLow": Rule(
            "warning", "under 60 % of the wanted updates came in 3 rounds, or clients are missed", rounds.participation
        ),
        "RejectionSpike": Rule(
            "warning", "over 20 % of the updates of 10 minutes were refused on arrival", updates.rejections
        ),
        "DefenceExcludesMany": Rule(
            "warning", "the defence left out over a third of the updates in 3 rounds in a row", updates.many_excluded
        ),
        "AccuracyDrop": Rule(
            "warning", "5 points below the median of the 5 measurements before (critical: 15)", learning.accuracy
        ),
        "TailAccuracyDrop": Rule(
            "warning", "likewise for the classes with fewest examples, 10 points", learning.tail_accuracy
        ),
        "CertExpiring": Rule(
            "warning", "the server's certificate was not renewed, or the CA's ends within 30 days", machine.certificates
        ),
        "ClientCertExpiring": Rule(
            "warning", "a connected client has under a fifth of its certificate left", machine.client_certificates
        ),
        "JournalSlow": Rule("warning", "a tenth of the journal's commits takes over 250 ms", machine.journal),
        "UploadResumesHigh": Rule(
            "warning", "over 30 % of the transfers of 10 minutes broke and went on", updates.resumes
        ),
        "GroupVoid": Rule(
            "warning", "a group of a masked round gave no sum (critical: half of them)", updates.void_groups
        ),
        "ClientProved": Rule("critical", "a client is proved to have broken the protocol", updates.proved),
        "DiskFilling": Rule(
            "warning", "room for under 3 rounds, or under 5 % and 1 GiB (critical: one round)", machine.disk
        ),
        "ClockSkew": Rule("warning", "a client's clock is off by over 30 s, or the server's own", machine.clocks),
        "EnrolmentRefused": Rule(
            "warning", "3 requests at the enrolment port were refused in 10 minutes", machine.enrolments
        ),
    }
)
"""By name; the same words, with the prefix Roughfed, in deploy/prometheus/roughfed.rules.yaml."""
