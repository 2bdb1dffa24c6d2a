"""Who bears to wait for its turn to transfer (`roughfed.server.uploads.transfer_scheduler`)."""

from __future__ import annotations

from roughfed.pb.v1 import federation_pb2 as fed
from roughfed.wire.updates import parse


def bears_waiting(get_model: bytes) -> bool:
    """Whether who sent a GetModelRequest waits for the first chunk.

    Raises:
        RemoteProtocolError: it is malformed.
    """
    return parse(fed.GetModelRequest, get_model).waits
