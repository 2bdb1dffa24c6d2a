"""What one client demands: its owner's policy (client.toml, [policy]), and what stands beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from roughfed.config.client import PolicySettings
from roughfed.crypto.member_list import Organisations


@dataclass(frozen=True, slots=True)
class Rules:
    """The demands of one client.

    Attributes:
        policy: client.toml, [policy]; in a session its `server_sees` is the least of what is noted and what it says.
        runs: runs that this client takes part in (client.stay).
        allow_memory: whether methods may keep examples from round to round ([memory] allow).
        organisations: whose signatures make a list of members, read from policy.organisations; None: the CA's does.
    """

    policy: PolicySettings
    runs: int = 1
    allow_memory: bool = True
    organisations: Organisations | None = None

    def with_policy(self, **changes: object) -> Rules:
        """The same demands under a policy with some other values."""
        return replace(self, policy=self.policy.model_copy(update=changes))
