"""`python unlisting_process.py server|client ...`: who ignores the list of members, whatever it hands out or reads.

The server seats whoever comes, the CA's revocations or not; the client takes everybody for a member, itself too.
"""

from __future__ import annotations

import sys

from roughfed.crypto.member_list import ListedMember, MemberList
from roughfed.server.members.authority import Authority
from roughfed.server.members.member_list import Listing
from tests.e2e.synthetic_process import main

if __name__ == "__main__":
    Listing.listed = lambda _, sessions: {session.name for session in sessions}
    Listing.admit = lambda *_: None
    Authority.standing = lambda *_: ""
    MemberList.member = lambda _, name, identity_key, **__: ListedMember(name, identity_key, 0)
    sys.exit(main())
