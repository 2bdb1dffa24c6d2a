"""A connection whose uploads are one value short, and signed as if that were right.

The honest client never sends such bytes: encoder and masks look at the length. So they are cut, and signed again, after
all that, where they leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from roughfed.client.connection.rpc import Connection
from roughfed.crypto.identity import IdentityKey
from roughfed.files import disk_errors
from roughfed.params import digest_file
from roughfed.types import Receipt, Signed
from roughfed.wire.updates import UPDATE_DOMAIN, decode_statement, encode_statement

VALUE_BYTES = 4


class CuttingConnection(Connection):
    """`Connection` with shorter uploads."""

    async def put_update(
        self, signed: Signed, path: Path, *, at: int, on_bytes: Callable[[int], None]
    ) -> tuple[Receipt, bytes]:
        """Upload the file without its last four bytes, from the start.

        Raises:
            RemoteProtocolError: the server refuses it, as it should.
        """
        del at
        cut, again = await asyncio.to_thread(shortened, path, signed, self.credentials.identity)
        return await super().put_update(again, cut, at=0, on_bytes=on_bytes)


def shortened(path: Path, signed: Signed, identity: IdentityKey) -> tuple[Path, Signed]:
    """A shorter copy of an update beside it, and its statement, signed.

    Raises:
        StorageError: the disk refused.
    """
    cut = path.with_suffix(".cut")
    with disk_errors("shorten the update"):
        cut.write_bytes(path.read_bytes()[:-VALUE_BYTES])
        size_bytes = cut.stat().st_size
    statement = replace(decode_statement(signed.body), digest=digest_file(cut), size_bytes=size_bytes)
    body = encode_statement(statement)
    return cut, Signed(body, identity.sign(UPDATE_DOMAIN, body), signed.signer)
