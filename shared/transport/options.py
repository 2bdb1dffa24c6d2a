"""gRPC channel arguments, each with its reason (see docs/decisions/0006-transport.md for the measurements)."""

from __future__ import annotations

SERVER_OPTIONS = (
    ("grpc.tcp_read_chunk_size", 1 << 20),
    ("grpc.experimental.tcp_max_read_chunk_size", 1 << 20),
    # A fixed receive window instead of one that grows with the link: with 32 uploads at once, growing windows held
    # 13 MiB each. One upload gets 1 MiB a round trip at most (20 MB/s at 50 ms), all together what the link has.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1 << 20),
    ("grpc.max_concurrent_streams", 32),  # one client needs four
    ("grpc.so_reuseport", 0),  # a second server on the port must fail, not share it
    # The client pings once a minute; core's default would answer that with GOAWAY "too many pings".
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
)

CLIENT_OPTIONS = (
    # Larger reads from the socket: 15 to 20 % less CPU for a transfer over TLS.
    ("grpc.tcp_read_chunk_size", 1 << 20),
    ("grpc.experimental.tcp_max_read_chunk_size", 4 << 20),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
    # Our own loop owns reconnecting; core must not wait longer than it.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Whatever its name says, in core this is the time that one attempt may take, TCP and TLS included: a slow line or a
    # server that greets two hundred clients at once needs more than the next try's backoff.
    ("grpc.min_reconnect_backoff_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
