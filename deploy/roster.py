"""A list of members that organisations sign, as files: the list, and beside it one file for each signature.

`members.list` is what was signed, byte for byte; `members.list.NAME.sig` has an organisation's key and its signature.
Nothing of it is secret, and no machine with a private key needs a network.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

from roughfed.client.members import credential_files
from roughfed.client.members.credential_files import Credentials
from roughfed.crypto.certificates import organisation_of
from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.key_file import write_public
from roughfed.crypto.member_list import MEMBERS_DOMAIN, ListedMember, MemberList
from roughfed.errors import ConfigError, IdentityError, RemoteProtocolError
from roughfed.server.members.member_list import Lists
from roughfed.wire.enrolment import chain_of, open_member
from roughfed.wire.member_list import MAX_LIST_BYTES, Signature, decode_list, encode_signed

LIST = "members.list"
"""Where a server looks for it: in its own directory."""

SUFFIX, MEMBER = ".sig", ".member"
MAX_MEMBER_BYTES = 64 << 10
_SIGNATURE = re.compile(re.escape(LIST) + r"\.[a-z0-9-]+" + re.escape(SUFFIX))


def read_list(path: Path) -> tuple[bytes, MemberList]:
    """The bytes of a list, and what they say.

    Raises:
        ConfigError: there is none, or it is no list.
    """
    try:
        with path.open("rb") as file:
            body = file.read(MAX_LIST_BYTES + 1)
        return body, decode_list(body)
    except OSError as error:
        raise ConfigError(f"cannot read the member list: {error.strerror}", file=str(path), cure=MAKE) from None
    except (RemoteProtocolError, IdentityError) as error:
        raise ConfigError(f"this is no member list: {error}", file=str(path), cure=MAKE) from None


MAKE = "where the CA is: roughfed roster propose (by files: in the server's directory, with --members FOLDER)"


def signatures_of(path: Path) -> dict[str, Signature]:
    """Signatures beside a list by the name of their file; none of them verified.

    Raises:
        ConfigError: one cannot be read.
    """
    found: dict[str, Signature] = {}
    for file in sorted(path.parent.glob(f"{path.name}.*{SUFFIX}")):
        try:
            said = json.loads(file.read_bytes()[:4096])
            found[file.name] = bytes.fromhex(said["key"]), bytes.fromhex(said["signature"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            cure = "roughfed roster sign makes them; remove this one"
            raise ConfigError(f"cannot read the signature: {error}", file=str(file), cure=cure) from None
    return found


def sign(path: Path, key: IdentityKey, name: str) -> Path:
    """Write an organisation's signature beside a list; returns the file.

    Raises:
        ConfigError: it is no list. StorageError: the disk refused.
    """
    body, _ = read_list(path)
    signature = key.sign(MEMBERS_DOMAIN, body)
    file = path.with_name(f"{path.name}.{name}{SUFFIX}")
    write_public(file, json.dumps({"key": key.public_key.hex(), "signature": signature.hex()}).encode() + b"\n")
    return file


def certified(folder: Path, own: Credentials) -> list[ListedMember]:
    """Members of a federation whose CA is somebody else's: the files that `roughfed enrol` wrote, and the own entry.

    The organisation is that of the certificate, where that is a name. They are members until they are given a date.

    Args:
        folder: with a file for each (NAME.member).
        own: papers of the directory; every entry must lead to the same CA.

    Raises:
        ConfigError: a file is none, from another CA, has ended, or is there twice.
    """
    found: dict[str, ListedMember] = {}
    for path in [own.folder / credential_files.MEMBER, *sorted(folder.glob(f"*{MEMBER}"))]:
        try:
            with path.open("rb") as file:
                member = file.read(MAX_MEMBER_BYTES)
            entry = open_member(member, own.ca_certificate, federation=own.external)
            organisation = organisation_of(chain_of(member)[0])
        except OSError as error:
            raise ConfigError(f"cannot read it: {error.strerror}", file=str(path), cure=ENROL) from None
        except (RemoteProtocolError, IdentityError) as error:
            raise ConfigError(f"this is no member: {error}", file=str(path), cure=ENROL) from None
        listed = ListedMember(entry.name, entry.identity_key, 0, organisation, entry.role == "server")
        if found.setdefault(entry.name, listed).identity_key != entry.identity_key:
            cure = "keep the file of the one that counts"
            raise ConfigError(f"{entry.name} is there twice, with two keys", file=str(path), cure=cure)
    return [found[name] for name in sorted(found)]


ENROL = "take the NAME.member that `roughfed enrol` wrote there last"


def files(folder: Path) -> list[Path]:
    """The signatures and the list of a directory, the list last; none where there is no list."""
    path = folder / LIST
    signatures = [each for each in sorted(folder.glob(f"{LIST}.*{SUFFIX}")) if _SIGNATURE.fullmatch(each.name)]
    return [*signatures, path] if path.is_file() else []


def lists_of(folder: Path, otherwise: Lists) -> Lists:
    """The list in a server's directory, read anew whenever it is asked for; as long as there is none, another source.

    Args:
        folder: of fed.toml.
        otherwise: the CA's lists.
    """
    path = folder / LIST

    async def lists() -> bytes:
        if not path.exists():
            return await otherwise()
        return await asyncio.to_thread(_signed, path)

    return lists


def _signed(path: Path) -> bytes:
    body, listed = read_list(path)
    signatures = list(signatures_of(path).values())
    if not signatures:
        cure = f"put the organisations' signatures beside it, as {path.name}.NAME{SUFFIX}"
        raise ConfigError(f"nobody has signed member list {listed.number}", file=str(path), cure=cure)
    listed.check_date(time.time())
    return encode_signed(body, signatures)
