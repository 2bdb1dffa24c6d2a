"""Rows on what carries a federation: disk, network, certificates, the clients' machines and the processes."""

from __future__ import annotations

from tests.grafana.panel import Panel, Row, of_client, of_server, quantile, rate

DURABILITY = Row(
    "Durability",
    (
        Panel(
            "Making a fact durable",
            "s",
            "Time to make one fact durable in the journal, over ten minutes; each upload waits for one.",
            {
                quantile(0.5, "roughfed_journal_commit_seconds"): "median",
                of_server("roughfed:journal_commit_seconds:p90_10m"): "90 %",
            },
            least=0,
        ),
        Panel(
            "State directory",
            "bytes",
            "Size of the journal, and of the stored models and updates.",
            {
                of_server("roughfed_journal_bytes"): "journal",
                of_server("roughfed_blob_store_bytes"): "models and updates",
            },
            stacked=True,
            least=0,
        ),
        Panel(
            "Disk",
            "percentunit",
            "Free part of the disk under the state directory.",
            {of_server("roughfed:disk_free:ratio"): "free"},
            least=0,
            most=1,
        ),
    ),
    folded=True,
)

TRANSPORT = Row(
    "Transport",
    (
        Panel(
            "Calls",
            "reqps",
            "Calls (gRPC) begun, by method.",
            {rate("roughfed_grpc_server_started_total", "method"): "{{method}}"},
            stacked=True,
            least=0,
        ),
        Panel(
            "Calls by status",
            "reqps",
            "Calls (gRPC) ended, by status; a session ends with CANCELLED when its client goes.",
            {rate("roughfed_grpc_server_handled_total", "code"): "{{code}}"},
            stacked=True,
            least=0,
        ),
        Panel(
            "Errors of the server's own",
            "percentunit",
            "Share of the calls of 15 minutes that ended with an error of the server's.",
            {of_server("roughfed:rpc_errors:ratio15m"): "errors"},
            least=0,
        ),
        Panel(
            "Duration of a call",
            "s",
            "Time within which 95 in 100 calls of 15 minutes ended, without sessions, which last.",
            {of_server("roughfed:rpc_duration_seconds:p95_15m"): "{{method}}"},
            least=0,
        ),
        Panel(
            "Sessions",
            "none",
            "Open session streams: one for each connected client.",
            {of_server("roughfed_grpc_streams_active"): "{{instance}}"},
            least=0,
        ),
        Panel(
            "HTTP",
            "reqps",
            "Requests to the server's pages, by page and status.",
            {rate("roughfed_http_requests_total", "page, code"): "{{page}} {{code}}"},
            stacked=True,
            least=0,
        ),
    ),
    folded=True,
)

CERTIFICATES = Row(
    "Certificates and enrolment",
    (
        Panel(
            "The server's certificates",
            "s",
            "Time until they end; the server's own is renewed at two thirds of its life.",
            {of_server("roughfed:cert_left_seconds"): "{{role}}"},
            least=0,
        ),
        Panel(
            "Clients' certificates",
            "s",
            "Time until they end: of connected clients the first, the median and the last.",
            {f"{of_server('roughfed_fleet_cert_expiry_timestamp_seconds')} - time()": "{{part}}"},
            least=0,
        ),
        Panel(
            "Enrolment",
            "none",
            "Requests at the enrolment port since the server started, by result.",
            {f"sum by (result) ({of_server('roughfed_enrolments_total')})": "{{result}}"},
            least=0,
        ),
    ),
    folded=True,
)

FLEET = Row(
    "Clients' machines, as their heartbeats tell",
    (
        Panel(
            "Training",
            "s",
            "How long the clients' last local trainings took.",
            {of_server("roughfed_fleet_train_seconds"): "{{part}}"},
            width=6,
            least=0,
        ),
        Panel(
            "Memory",
            "bytes",
            "Resident memory of the clients' agents and trainers.",
            {of_server("roughfed_fleet_resident_bytes"): "{{part}}"},
            width=6,
            least=0,
        ),
        Panel(
            "GPU memory",
            "bytes",
            "GPU memory in use, of the clients that have a GPU and tell.",
            {of_server("roughfed_fleet_gpu_memory_bytes"): "{{part}}"},
            width=6,
            least=0,
        ),
        Panel(
            "GPU load",
            "percentunit",
            "How busy the GPUs are, of the clients that have one and tell.",
            {of_server("roughfed_fleet_gpu_utilization_ratio"): "{{part}}"},
            width=6,
            least=0,
            most=1,
        ),
        Panel(
            "Clocks",
            "s",
            "How far the clients' clocks are ahead of the server's.",
            {of_server("roughfed_fleet_clock_skew_seconds"): "{{part}}"},
            width=12,
        ),
        Panel(
            "Versions",
            "none",
            "What the server and the clients whose pages are scraped run.",
            {
                f"count by (version, python) ({of_server('roughfed_build_info')})": "servers",
                f"count by (version, python) ({of_client('roughfed_client_build_info')})": "clients",
            },
            kind="table",
            width=12,
        ),
    ),
    folded=True,
)

PAGES = Row(
    "Clients whose own pages are scraped",
    (
        Panel(
            "Session",
            "none",
            "Whether a client has a session with the server (1) or none (0).",
            {of_client("roughfed_client_session_connected"): "{{instance}}"},
            width=6,
            least=0,
            most=1,
        ),
        Panel(
            "Phase",
            "none",
            "What each client is doing.",
            {f"{of_client('roughfed_client_phase')} == 1": "{{instance}} {{phase}}"},
            width=6,
        ),
        Panel(
            "Round",
            "none",
            "The round that a client is in, or was in last.",
            {of_client("roughfed_client_round_current"): "{{instance}}"},
            width=6,
            least=0,
        ),
        Panel(
            "Verdicts",
            "none",
            "Rounds with the client in them, by the server's verdict.",
            {f"sum by (verdict) ({of_client('roughfed_client_rounds_total')})": "{{verdict}}"},
            width=6,
            least=0,
        ),
        Panel(
            "Training",
            "s",
            "Median duration of a local training over the last hour.",
            {of_client("roughfed:client_train_seconds:p50_1h"): "{{instance}}"},
            width=6,
            least=0,
        ),
        Panel(
            "Examples",
            "none",
            "Examples trained on for each second of the last hour.",
            {of_client("roughfed:client_train_samples:rate1h"): "{{instance}}"},
            width=6,
            least=0,
        ),
        Panel(
            "Training loss",
            "short",
            "Mean loss of the last local training.",
            {of_client("roughfed_client_train_loss"): "{{instance}}"},
            width=6,
        ),
        Panel(
            "Traffic",
            "Bps",
            "Payload on the wire, as the client counts it.",
            {rate("roughfed_client_transfer_bytes_total", "direction, codec", client=True): "{{direction}} {{codec}}"},
            width=6,
            stacked=True,
            least=0,
        ),
        Panel(
            "Encoding and cryptography",
            "s",
            "Time that 95 in 100 of these operations took on the clients.",
            {
                quantile(0.95, "roughfed_client_codec_seconds", "codec, op", client=True): "{{op}} {{codec}}",
                quantile(0.95, "roughfed_client_crypto_seconds", "op", client=True): "{{op}}",
            },
            least=0,
        ),
        Panel(
            "GPU",
            "bytes",
            "GPU memory that the client's process uses.",
            {of_client("roughfed_client_gpu_memory_bytes"): "{{instance}}"},
            width=4,
            least=0,
        ),
        Panel(
            "GPU load",
            "percentunit",
            "How busy the client's GPU is.",
            {of_client("roughfed_client_gpu_utilization_ratio"): "{{instance}}"},
            width=4,
            least=0,
            most=1,
        ),
        Panel(
            "State directory",
            "bytes",
            "Size of the client's state directory.",
            {of_client("roughfed_client_held_bytes"): "{{instance}}"},
            width=4,
            least=0,
        ),
        Panel(
            "Certificate and clock",
            "s",
            "Time until the client's certificate ends, and how far its clock is ahead of the server's.",
            {
                f"{of_client('roughfed_client_cert_expiry_timestamp_seconds')} - time()": "{{instance}} certificate",
                of_client("roughfed_client_clock_skew_seconds"): "{{instance}} clock",
            },
            width=4,
        ),
        Panel(
            "Reconnections",
            "none",
            "Sessions that had to be opened again: the server asked for it, or nobody answered.",
            {f"sum by (instance, reason) ({of_client('roughfed_client_reconnects_total')})": "{{instance}} {{reason}}"},
            width=8,
            least=0,
        ),
        Panel(
            "What the server may see",
            "none",
            "The most that the server may see of a client (at 1), and how often it asked for more and was refused.",
            {
                f"{of_client('roughfed_client_server_sees')} == 1": "{{instance}} {{mode}}",
                of_client("roughfed_client_modes_refused_total"): "{{instance}} refused",
            },
            width=8,
            least=0,
        ),
        Panel(
            "Memory",
            "bytes",
            "Resident memory of the agents by kind.",
            {of_client("roughfed_client_process_resident_bytes"): "{{instance}} {{kind}}"},
            width=8,
            least=0,
        ),
    ),
    folded=True,
)

PROCESS = Row(
    "The server's process",
    (
        Panel(
            "Memory",
            "bytes",
            "Resident memory by kind; anon and shmem are its own, file pages can be dropped.",
            {of_server("roughfed_process_resident_bytes"): "{{kind}}"},
            width=12,
            stacked=True,
            least=0,
        ),
        Panel(
            "Answers to Prometheus",
            "none",
            "Whether Prometheus could read a page (1) or not (0), for all servers and clients.",
            {'up{job=~"roughfed-.+"}': "{{instance}}"},
            width=6,
            least=0,
            most=1,
        ),
        Panel(
            "Time to be read",
            "s",
            "How long Prometheus took to read the page.",
            {of_server("scrape_duration_seconds"): "{{instance}}"},
            width=6,
            least=0,
        ),
    ),
    folded=True,
)
