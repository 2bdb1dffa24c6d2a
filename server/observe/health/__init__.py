"""Is the federation well? Each alert is a function over plain figures and a row; nobody else judges anything.

`inputs.py` has the figures and `reading.py` takes them from a running server; `active_alerts.py` keeps since when each
alert stands. Prometheus hears of them as `roughfed_alert`, and its rules are written from this table
(`python -m tests.unit.server.observe.test_prometheus`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from roughfed.server.observe.health import clients, learning, machine, rounds, updates
from roughfed.server.observe.health.alert import AlertRule

ALERTS: Mapping[str, AlertRule] = MappingProxyType(
    {
        "RoundStalled": AlertRule(
            "critical",
            "a round is open long after its deadline, or none although nothing is missing",
            rounds.stalled,
        ),
        "RoundsAbandoned": AlertRule("warning", "2 rounds in a row brought nothing (critical: 4)", rounds.abandoned),
        "RunPaused": AlertRule(
            "critical", "the server paused the run after abandoned rounds (info: you did, an hour ago)", rounds.paused
        ),
        "ParticipationLow": AlertRule(
            "warning", "under 60 % of the wanted updates came in 3 rounds, or clients are missed", rounds.participation
        ),
        "RejectionSpike": AlertRule(
            "warning", "over 20 % of the updates of 10 minutes were refused on arrival", updates.rejections
        ),
        "DefenceExcludesMany": AlertRule(
            "warning", "the defence left out over a third of the updates in 3 rounds in a row", updates.many_excluded
        ),
        "DefenceOutnumbered": AlertRule(
            "warning",
            "more updates were suspicious than the defence holds against, 3 rounds in a row",
            updates.outnumbered,
        ),
        "ClientLeftOut": AlertRule(
            "info", "the defence left the same client out in two thirds of its last 10 rounds", clients.left_out
        ),
        "ClientFails": AlertRule(
            "warning", "a client gave nothing that counts in 3 rounds in a row, for the same reason", clients.failing
        ),
        "AccuracyDrop": AlertRule(
            "warning", "5 points below the median of the 5 measurements before (critical: 15)", learning.accuracy
        ),
        "TailAccuracyDrop": AlertRule(
            "warning", "likewise for the classes with fewest examples, 10 points", learning.tail_accuracy
        ),
        "VersionTakenBack": AlertRule(
            "warning", "a new version failed on the server's own data (defence.rollback)", learning.taken_back
        ),
        "CertExpiring": AlertRule(
            "warning", "the server's certificate was not renewed, or the CA's ends within 30 days", machine.certificates
        ),
        "ClientCertExpiring": AlertRule(
            "warning", "a connected client has under a fifth of its certificate left", machine.client_certificates
        ),
        "JournalSlow": AlertRule("warning", "a tenth of the journal's commits takes over 250 ms", machine.journal),
        "UploadResumesHigh": AlertRule(
            "warning", "over 30 % of the transfers of 10 minutes broke and went on", updates.resumes
        ),
        "GroupVoid": AlertRule(
            "warning", "a group of a masked round gave no sum (critical: half of them)", updates.void_groups
        ),
        "ClientProved": AlertRule("critical", "a client is proved to have broken the protocol", updates.proved),
        "DiskFilling": AlertRule(
            "warning", "room for under 3 rounds, or under 5 % and 1 GiB (critical: one round)", machine.disk
        ),
        "ClockSkew": AlertRule("warning", "a client's clock is off by over 30 s, or the server's own", machine.clocks),
        "EnrolmentRefused": AlertRule(
            "warning", "3 requests at the enrolment port were refused in 10 minutes", machine.enrolments
        ),
        "RpcErrors": AlertRule(
            "warning", "over 5 % of the calls of 10 minutes ended with an error of the server's own", machine.calls
        ),
    }
)
"""By name."""
