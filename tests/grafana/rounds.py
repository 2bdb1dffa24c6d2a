"""Rows on what a federation is for: rounds, who takes part, how good the model is and for whom."""

from __future__ import annotations

from tests.grafana.panel import SERVER, Panel, Row, grown, of_server

NOW = Row(
    "Now",
    (
        Panel(
            "Round",
            "none",
            "Number of the round that is open, or of the last one.",
            {of_server("roughfed_round_current"): "{{instance}}"},
            kind="stat",
            width=4,
        ),
        Panel(
            "Phase",
            "none",
            "What the server is doing.",
            {f"{of_server('roughfed_round_phase')} == 1": "{{phase}}"},
            kind="stat",
            width=4,
        ),
        Panel(
            "Clients",
            "none",
            "Clients that have a session with the server.",
            {of_server("roughfed_clients", state="connected"): ""},
            kind="stat",
            width=4,
        ),
        Panel(
            "Accuracy",
            "percentunit",
            "Of the newest evaluated model, over all examples.",
            {of_server("roughfed_eval_accuracy_ratio", split="global"): ""},
            kind="stat",
            width=4,
        ),
        Panel(
            "Paused",
            "none",
            "Whether an operator, or five abandoned rounds in a row, have paused the run.",
            {of_server("roughfed_paused"): ""},
            kind="stat",
            width=4,
            names={"0": "no", "1": "yes"},
        ),
        Panel(
            "The server's own alerts",
            "none",
            "Alerts that the server raises by itself (`roughfed status`), by severity. Those of Prometheus are marked "
            "in every time series.",
            {f"sum by (severity) ({of_server('roughfed_alert')})": "{{severity}}"},
            kind="stat",
            width=4,
        ),
    ),
)

ROUNDS = Row(
    "Rounds",
    (
        Panel(
            "Rounds by outcome",
            "none",
            "Rounds that ended within the interval: with a new model, without one, or worked out again after a "
            "restart.",
            {grown("roughfed_rounds_total", "outcome"): "{{outcome}}"},
            stacked=True,
            least=0,
        ),
        Panel(
            "Duration of a round",
            "s",
            "From opening a round to its end: half of the last hour's rounds, and 95 in 100, were shorter.",
            {
                of_server("roughfed:round_duration_seconds:p50_1h"): "median",
                of_server("roughfed:round_duration_seconds:p95_1h"): "95 %",
            },
            least=0,
        ),
        Panel(
            "Duration of the phases",
            "s",
            "Mean time in each phase over the last hour; waiting is the time between rounds.",
            {of_server("roughfed:phase_duration_seconds:mean1h"): "{{phase}}"},
            stacked=True,
            least=0,
        ),
        Panel(
            "Phase",
            "none",
            "The phase that the server was in, over time.",
            {of_server("roughfed_round_phase"): "{{phase}}"},
            kind="state-timeline",
            width=12,
            names={"0": "", "1": "in it"},
        ),
        Panel(
            "The open round against its deadline",
            "s",
            "How long a round is open, and how long it may be. The alert RoughfedRoundStalled goes by these.",
            {
                f"time() - {of_server('roughfed_round_opened_timestamp_seconds')}": "open for",
                of_server("roughfed_round_deadline_seconds"): "deadline",
            },
            width=6,
            least=0,
        ),
        Panel(
            "Since the last model",
            "s",
            "Time since a round was last committed.",
            {f"time() - {of_server('roughfed_round_last_success_timestamp_seconds')}": "{{instance}}"},
            width=6,
            least=0,
        ),
    ),
)

CLIENTS = Row(
    "Clients",
    (
        Panel(
            "Clients by state",
            "none",
            "Connected clients, and what they said they were doing; the states overlap. Away: those that said when "
            "they come back.",
            {
                of_server("roughfed_clients"): "{{state}}",
                of_server("roughfed_clients_needed"): "needed to open a round",
            },
            least=0,
        ),
        Panel(
            "Clients by phase of the round",
            "none",
            "Clients that reached each phase of the current round.",
            {of_server("roughfed_participants"): "{{phase}}"},
            least=0,
        ),
        Panel(
            "Participation",
            "percentunit",
            "Updates taken of the clients that were asked for one, over the last hour and day.",
            {
                of_server("roughfed:participation:ratio1h"): "1 h",
                of_server("roughfed:participation:ratio1d"): "1 d",
            },
            least=0,
            most=1,
        ),
        Panel(
            "Clients lost, by reason",
            "none",
            "Clients that were asked and gave no update, by reason.",
            {grown("roughfed_dropouts_total", "reason"): "{{reason}}"},
            stacked=True,
            least=0,
        ),
        Panel(
            "From a round's opening to its jobs",
            "s",
            "Time until 99 in 100 clients' jobs were written to their streams, over the last hour.",
            {of_server("roughfed:dispatch_seconds:p99_1h"): "99 %"},
            least=0,
        ),
        Panel(
            "Single clients",
            "none",
            "Clients with series of their own (`metrics.per_client`: by default the 20 with most updates refused or "
            "left out).",
            {
                f"sum by (client) ({of_server('roughfed_client_updates_total')})": "updates",
                f"sum by (client) ({of_server('roughfed_client_excluded_total')})": "left out",
                f"time() - max by (client) ({of_server('roughfed_client_last_seen_timestamp_seconds')})": "silent (s)",
            },
            kind="table",
        ),
    ),
)

LEARNING = Row(
    "Learning",
    (
        Panel(
            "Accuracy",
            "percentunit",
            "Of the newest evaluated model: over all examples, mean over classes, of the worst class.",
            {
                of_server("roughfed_eval_accuracy_ratio", split="global"): "all examples",
                of_server("roughfed_eval_accuracy_ratio", split="balanced"): "mean over classes",
                of_server("roughfed_eval_accuracy_ratio", split="worst_class"): "worst class",
            },
            least=0,
            most=1,
        ),
        Panel(
            "Accuracy by frequency of the class",
            "percentunit",
            "Mean over the classes with most and with fewest training examples (where clients tell their counts), "
            "and their like.",
            {f'roughfed_eval_accuracy_ratio{{{SERVER},split=~"head|medium|tail"}}': "{{split}}"},
            least=0,
            most=1,
        ),
        Panel(
            "Accuracy against its median",
            "percentunit",
            "The newest accuracy minus the median of the last hour; RoughfedAccuracyDrop and "
            "RoughfedTailAccuracyDrop go by it.",
            {
                f"{of_server('roughfed_eval_accuracy_ratio')} - {of_server('roughfed:accuracy:median1h')}": "{{split}}",
            },
        ),
        Panel(
            "Loss",
            "short",
            "Mean loss of the newest evaluated model.",
            {of_server("roughfed_eval_loss"): "{{instance}}"},
        ),
        Panel(
            "F1, calibration and forgetting",
            "percentunit",
            "Mean F1 over classes; mean distance between confidence and accuracy (ECE); accuracy lost on tasks that "
            "are over.",
            {
                of_server("roughfed_eval_macro_f1_ratio"): "macro F1",
                of_server("roughfed_eval_calibration_error_ratio"): "calibration error",
                of_server("roughfed_eval_forgetting_ratio"): "forgetting",
            },
            least=0,
            most=1,
        ),
        Panel(
            "Length of the model's step",
            "short",
            "L2 norm of the last mean of updates, in units of the parameters.",
            {of_server("roughfed_aggregate_norm"): "{{instance}}"},
            least=0,
        ),
    ),
)

FAIRNESS = Row(
    "Fairness and contribution",
    (
        Panel(
            "Accuracy over the clients",
            "percentunit",
            "How well the model serves the clients: mean, mean of the worst and of the best tenth. Behind masks each "
            "is known to 0.025.",
            {
                of_server("roughfed_client_accuracy_ratio", model="global", part=part): words
                for part, words in {"mean": "mean", "worst10": "worst tenth", "best10": "best tenth"}.items()
            },
            least=0,
            most=1,
        ),
        Panel(
            "Fairness",
            "percentunit",
            "Gap between the best and the worst served clients, Jain's index over all of them (1: all alike), and the "
            "share of clients that training alone serves better.",
            {
                of_server("roughfed_fairness_gap_ratio"): "gap",
                of_server("roughfed_fairness_jain_ratio"): "Jain's index",
                of_server("roughfed_worse_than_alone_ratio"): "better off alone",
            },
            least=0,
            most=1,
        ),
        Panel(
            "What clients count for by their loss",
            "short",
            "Weights of the last round where a fairness rule is on; 1 is a client at the typical loss.",
            {of_server("roughfed_fairness_weight_ratio"): "{{part}}"},
            least=0,
        ),
        Panel(
            "Share of the contribution",
            "percentunit",
            "What single clients' parts in the model are of the whole.",
            {of_server("roughfed_contribution_share_ratio"): "{{part}}"},
        ),
        Panel(
            "Contribution scores",
            "short",
            "Scores of the clients over all rounds so far, in the method's own unit.",
            {of_server("roughfed_contribution_score"): "{{part}}"},
        ),
        Panel(
            "Contribution by client",
            "short",
            "Score of each client that has series of its own; nobody's where the server sees only sums.",
            {f"max by (client) ({of_server('roughfed_client_contribution_score')})": "score"},
            "table",
        ),
        Panel(
            "Free-riders",
            "none",
            "Client-rounds that were taken for a free-rider's, by what speaks for it.",
            {grown("roughfed_free_riders_total", "reason"): "{{reason}}"},
            stacked=True,
            least=0,
        ),
        Panel(
            "Ledger",
            "none",
            "Entries of the signed ledger, and models evaluated for the scores.",
            {
                of_server("roughfed_ledger_entries_total"): "entries",
                of_server("roughfed_contribution_evaluations_total"): "evaluations",
            },
            least=0,
        ),
    ),
    folded=True,
)
