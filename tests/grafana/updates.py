"""Rows on updates: their bytes, who is left out and why, and the masked sums."""

from __future__ import annotations

from tests.grafana.panel import Panel, Row, grown, of_server, quantile, rate

BYTES = Row(
    "Bytes",
    (
        Panel(
            "Traffic by codec",
            "Bps",
            "Payload on the wire, seen from the clients (up: updates, down: models), by its encoding.",
            {rate("roughfed_transfer_bytes_total", "direction, codec"): "{{direction}} {{codec}}"},
            stacked=True,
            least=0,
        ),
        Panel(
            "Bytes of a round",
            "bytes",
            "Payload of all clients together for each round of the last hour.",
            {of_server("roughfed:transfer_bytes:per_round1h"): "{{direction}}"},
            least=0,
        ),
        Panel(
            "Compression",
            "short",
            "Payload as float32 for each byte on the wire, over the last hour: 4 means a quarter of the traffic.",
            {of_server("roughfed:compression:ratio1h"): "{{direction}}"},
            least=0,
        ),
        Panel(
            "Encoding and decoding",
            "s",
            "Time that 95 in 100 encodings and decodings at the server took, by codec.",
            {quantile(0.95, "roughfed_codec_seconds", "codec, op"): "{{op}} {{codec}}"},
            width=12,
            least=0,
        ),
        Panel(
            "Transfers resumed",
            "none",
            "Transfers that went on from the middle after a break, for each update of the last hour.",
            {of_server("roughfed:resumes:per_update1h"): "per update"},
            width=12,
            least=0,
        ),
    ),
)

DEFENCE = Row(
    "Defence and refusals",
    (
        Panel(
            "Left out by the defence, by reason",
            "none",
            "Updates that the defence left out.",
            {grown("roughfed_defence_excluded_total", "reason"): "{{reason}}"},
            stacked=True,
            least=0,
        ),
        Panel(
            "Share left out",
            "percentunit",
            "Of the updates of the last hour, against the share of attackers that the defence is to hold against.",
            {
                of_server("roughfed:exclusion:ratio1h"): "left out",
                f"{of_server('roughfed_defence_tolerated')} / {of_server('roughfed_defence_rows')}": "tolerated",
            },
            least=0,
            most=1,
        ),
        Panel(
            "Suspicion",
            "short",
            "The figures that the defence went by last, in its own unit; larger is more suspicious, and the default "
            "rule leaves out above 1.",
            {of_server("roughfed_defence_score"): "{{part}}"},
        ),
        Panel(
            "Updates by what became of them",
            "none",
            "Updates received: taken, refused, late, or sent twice.",
            {grown("roughfed_updates_total", "result"): "{{result}}"},
            stacked=True,
            least=0,
        ),
        Panel(
            "Refused or left out, by reason",
            "none",
            "The ten most frequent reasons of the interval.",
            {f"topk(10, {grown('roughfed_updates_rejected_total', 'reason')})": "{{reason}}"},
            stacked=True,
            least=0,
        ),
        Panel(
            "Judged and tolerated",
            "none",
            "Updates (or groups) that the defence judged last, and attackers among them that it was to hold against.",
            {of_server("roughfed_defence_rows"): "judged", of_server("roughfed_defence_tolerated"): "tolerated"},
            least=0,
        ),
        Panel(
            "Verdicts of a round",
            "s",
            "Time to reach the defence's verdicts, and to combine the updates, for 95 in 100 rounds.",
            {
                quantile(0.95, "roughfed_defence_seconds"): "verdicts",
                quantile(0.95, "roughfed_aggregate_seconds"): "combining",
            },
            least=0,
        ),
    ),
)

MASKS = Row(
    "Secure aggregation",
    (
        Panel(
            "Groups",
            "none",
            "Groups of masked rounds: their sum counted, or was void.",
            {grown("roughfed_groups_total", "result"): "{{result}}"},
            stacked=True,
            least=0,
        ),
        Panel(
            "Void groups",
            "percentunit",
            "Share of the groups of the last hour without a sum; the updates of their clients are lost.",
            {of_server("roughfed:group_void:ratio1h"): "void"},
            least=0,
            most=1,
        ),
        Panel(
            "Rules broken",
            "none",
            "Stages of masked rounds that broke a rule, other refused calls, and clients proved to have lied.",
            {
                grown("roughfed_refusals_total", "reason"): "call: {{reason}}",
                grown("roughfed_stages_rejected_total", "reason"): "{{reason}}",
                grown("roughfed_proofs_total", "instance"): "proved",
            },
            stacked=True,
            least=0,
        ),
        Panel(
            "Cryptography at the server",
            "s",
            "Seconds of each second that the server spends on signatures, shares and unmasking.",
            {rate("roughfed_crypto_seconds_sum", "op"): "{{op}}"},
            stacked=True,
            width=12,
            least=0,
        ),
        Panel(
            "One operation",
            "s",
            "Time that 95 in 100 of these operations took.",
            {quantile(0.95, "roughfed_crypto_seconds", "op"): "{{op}}"},
            width=12,
            least=0,
        ),
    ),
)
