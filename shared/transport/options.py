"""gRPC channel arguments, each with its reason (see docs/decisions/0006-transport.md for the measurements)."""

from __future__ import annotations

KEEPALIVE_MS = 5_000
"""Each end pings after so long without a byte from the other, and gives the connection up after as long again without
an answer: a link that is cut without a word is noticed in 10 s. (gRPC also gives this to TCP as its user timeout.) The
pings are answered by gRPC's own threads, also where Python or the trainer is busy."""

READ_BYTES = 12_000

HANDSHAKE_MS = 5_000
"""A peer that connects has so long for TLS."""

CALL_BYTES = (1 << 20) + (64 << 10)
"""The longest message to the server: a chunk of 1 MiB, or a statement with a first chunk of 128 KiB; the longest stage
of a masked round has half of it."""

REPLY_BYTES = 16 << 20
"""The longest message to a client: the rosters and deals of large groups."""

SERVER_OPTIONS = (
    # A connection keeps, for good, the buffer that its next read is to fill, as large as reads have become: half a MiB
    # for each client that has uploaded. Below 12 KiB it is made of pieces of 8 KiB, above, of 64; it takes no more
    # processor time: what is read is still in the cache when TLS gets at it.
    ("grpc.tcp_read_chunk_size", READ_BYTES),
    ("grpc.experimental.tcp_max_read_buffer_size", READ_BYTES),
    # A fixed receive window instead of one that grows with the link: with 32 uploads at once, growing windows held
    # 13 MiB each. One upload gets 1 MiB a round trip at most (20 MB/s at 50 ms), all together what the link has.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1 << 20),
    ("grpc.max_receive_message_length", CALL_BYTES),
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
    ("grpc.max_concurrent_streams", 32),  # one client needs four
    ("grpc.so_reuseport", 0),  # a second server on the port must fail, not share it
    # Core's default would answer the client's pings with GOAWAY "too many pings".
    ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    ("grpc.keepalive_permit_without_calls", 1),
    # On a busy machine pings come in a bunch, no offence; who sends them has a certificate, and calls cost more.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
    ("grpc.http2.max_pings_without_data", 0),
)

CLIENT_OPTIONS = (
    ("grpc.max_receive_message_length", REPLY_BYTES),
    # Larger reads from the socket: 15 to 20 % less CPU for a transfer over TLS.
    ("grpc.tcp_read_chunk_size", 1 << 20),
    ("grpc.experimental.tcp_max_read_chunk_size", 4 << 20),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
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


def at_most(connections: int) -> tuple[tuple[str, int], ...]:
    """Refuse further connections to a port as they come, before TLS."""
    return (("grpc.max_allowed_incoming_connections", connections),)
