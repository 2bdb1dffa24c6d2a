"""`roughfed roster show | propose | init-org | sign | verify`: who belongs, and who says so."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.errors import ConfigError

if TYPE_CHECKING:
    from roughfed.crypto.member_list import ListedMember, MemberList
    from roughfed.wire.member_list import Signature

KEY_SUFFIX = ".key"


@dataclass(frozen=True, slots=True)
class RosterShowFlags:
    """Which list."""

    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A list. [default: that of --dir]", show_default=False)
    ] = None


@dataclass(frozen=True, slots=True)
class ProposeFlags:
    """Who, and for how long."""

    days: Annotated[int, typer.Option(min=1, max=3650, help="Days that the list, and all in it, are good.")] = 90
    out: Annotated[Path | None, typer.Option(help="Where to. [default: members.list in --dir]")] = None
    members: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the CA is not roughfed's: the clients' files NAME.member, which `roughfed enrol` wrote.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class OrganisationFlags:
    """Which organisation."""

    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the organisation: a-z, 0-9 and hyphens.")]


@dataclass(frozen=True, slots=True)
class SignFlags:
    """What, with whose key."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="The list.")]
    key: Annotated[Path, typer.Option(help="The organisation's key, NAME.key.")]


@dataclass(frozen=True, slots=True)
class RosterVerifyFlags:
    """What, against whose keys."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="The list; its signatures lie beside it.")]
    organisations: Annotated[Path, typer.Option(help="File with the organisations' keys, and how many must sign.")]


ABOUT = "Who belongs to the federation, and who says so: the CA, or so many organisations."


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help=ABOUT)
    command(group, "show", flags=RosterShowFlags)(show)
    command(group, "propose", flags=ProposeFlags)(propose)
    command(group, "init-org", flags=OrganisationFlags)(init_org)
    command(group, "sign", flags=SignFlags)(sign)
    command(group, "verify", flags=RosterVerifyFlags)(verify)
    group.callback()(_group)
    app.add_typer(group, name="roster")


def _group() -> None:
    """Who belongs to the federation, and who says so: the CA, or so many organisations."""


def show(context: CommandContext, flags: RosterShowFlags) -> Answer:
    """Print a list of members: names, organisations, fingerprints of the keys, and until when.

    Without FILE: in a client's directory the one that it goes by, else the one that is in force at this server or CA.
    """
    own = own_fingerprint(context) if flags.file is None else ""
    if own:
        context.say(f"this client: {own}")
    if own and not seen(context.folder):
        context.say("no member list was seen here yet: it comes with the first masked round")
        return Answer({"fingerprint": own})
    listed, signatures = found(context, flags.file)
    until = f"{datetime.fromtimestamp(listed.expires_at, UTC):%Y-%m-%d %H:%M} UTC"
    context.say(f"{listed.federation}, member list {listed.number}, {len(listed.members)} members, until {until}")
    for member in listed.members:
        what = "server" if member.server else f"org:{member.organisation}" if member.organisation else ""
        ends = f"{datetime.fromtimestamp(member.expires_at, UTC):%Y-%m-%d}"
        context.say(f"  {member.name:20} {what:16} until {ends}  sha256:{member.fingerprint}")
    context.say("signed by: " + ", ".join(key.hex()[:16] if key else "the CA" for key, _ in signatures))
    return Answer(plain(listed, signatures) | ({"fingerprint": own} if own else {}))


def own_fingerprint(context: CommandContext) -> str:
    """Of the key of the client in a directory, for its owner to tell others; empty where none is enrolled."""
    import hashlib

    from roughfed.client.members import credential_files
    from roughfed.deploy.agent import ClientFiles

    papers = ClientFiles(context.folder).papers
    if not credential_files.is_enrolled(papers) or (mine := credential_files.load(papers)).subject.role != "client":
        return ""
    return f"sha256:{hashlib.sha256(mine.identity.public_key).hexdigest()}"


def propose(context: CommandContext, flags: ProposeFlags) -> Answer:
    """Write the list of the members for the organisations to sign: those of the CA, or of --members.

    Each of them looks at it (`roughfed roster show FILE`), signs it (`roughfed roster sign`) and sends its signature
    back; list and signatures then go into the server's directory.
    """
    from roughfed.crypto.key_file import write_public
    from roughfed.deploy.roster import LIST, read_list
    from roughfed.server.members.issued_lists import proposed_list

    path, life_s = flags.out or context.folder / LIST, timedelta(days=flags.days).total_seconds()
    federation, members = proposed(context.folder, flags.members)
    # Clients refuse an older number, wherever this one is written.
    known = [read_list(each)[1] for each in {path, context.folder / LIST} if each.exists()]
    before = max(known, key=lambda each: each.number, default=None)
    body, listed = proposed_list(members, federation, at=int(time.time()), life_s=life_s, before=before)
    for old in path.parent.glob(f"{path.name}.*.sig"):
        old.unlink()  # of the list before
    write_public(path, body)
    context.say(f"wrote {path}: member list {listed.number}, {len(listed.members)} members; it counts once signed")
    return Answer({"file": str(path.absolute()), **plain(listed, [])})


def proposed(folder: Path, files: Path | None) -> tuple[str, list[ListedMember]]:
    """The federation, and who would be in its list.

    Raises:
        ConfigError: there is no CA here; with `files`: this directory was not enrolled by files, or one of them is bad.
    """
    from roughfed.client.members import credential_files
    from roughfed.deploy import roster
    from roughfed.deploy.aggregator import ServerFiles
    from roughfed.server.members.authority import Authority

    if files is None:
        authority = Authority.open(ServerFiles(folder).ca)
        return authority.federation, authority.registered()
    own = credential_files.load(ServerFiles(folder).papers)
    if not own.external:
        cure = "leave --members out, in the CA's directory"
        raise ConfigError("the CA is roughfed's, and knows its members", key="--members", cure=cure)
    if not files.is_dir():
        raise ConfigError("there is no such folder", file=str(files), key="--members", cure=roster.ENROL)
    return own.external, roster.certified(files, own)


def init_org(context: CommandContext, flags: OrganisationFlags) -> Answer:
    """Make an organisation's key, and print its public half for everybody's file of organisations.

    Keep the key off the network: all that is ever done with it is `roughfed roster sign`.
    """
    from roughfed.crypto.identity import IdentityKey
    from roughfed.crypto.names import check_name

    check_name(flags.name, what="organisation")
    path = context.folder / f"{flags.name}{KEY_SUFFIX}"
    if path.exists():
        raise ConfigError("there is a key already", file=str(path), cure="name another folder with --dir")
    context.folder.mkdir(parents=True, exist_ok=True)
    key = IdentityKey.generate()
    key.save(path)
    context.note(f"wrote {path}: whoever has it signs for {flags.name}; keep it safe, and off the network")
    context.say(f'{flags.name} = "{key.public_key.hex()}"')
    return Answer({"organisation": flags.name, "key": str(path.absolute()), "public_key": key.public_key.hex()})


def sign(context: CommandContext, flags: SignFlags) -> Answer:
    """Sign a list for an organisation; the signature is a file beside it."""
    from roughfed.crypto.identity import IdentityKey
    from roughfed.crypto.names import check_name
    from roughfed.deploy import roster

    name = check_name(flags.key.name.removesuffix(KEY_SUFFIX), what="organisation")
    file = roster.sign(flags.file, IdentityKey.load(flags.key), name)
    _, listed = roster.read_list(flags.file)
    context.say(f"wrote {file}: {name} signs member list {listed.number} of {listed.federation}")
    return Answer({"organisation": name, "signature": str(file.absolute()), **plain(listed, [])})


def verify(context: CommandContext, flags: RosterVerifyFlags) -> Answer:
    """Check a list as a client does that knows these organisations; the exit code is 3 where it counts for nothing."""
    from roughfed.config.organisations import read_organisations
    from roughfed.deploy import roster

    trust = read_organisations(flags.organisations)
    body, listed = roster.read_list(flags.file)
    signatures = list(roster.signatures_of(flags.file).values())
    trust.check(body, signatures)
    listed.check_date(time.time())
    signers = sorted(trust.signers(body, signatures))
    context.say(f"member list {listed.number} of {listed.federation} is signed by {', '.join(signers)}")
    return Answer({"signers": signers, "needed": trust.needed, **plain(listed, signatures)})


def found(context: CommandContext, file: Path | None) -> tuple[MemberList, list[Signature]]:
    """The list that a person asks for.

    Raises:
        ConfigError: there is none.
    """
    from roughfed.deploy import aggregator, roster
    from roughfed.server.members.authority import CA_KEY, Authority
    from roughfed.wire.member_list import decode_list, decode_signed

    folder, place = context.folder, aggregator.ServerFiles(context.folder)
    if file is None and (folder / roster.LIST).exists():
        file = folder / roster.LIST
    if file is not None:
        return roster.read_list(file)[1], list(roster.signatures_of(file).values())
    if (place.ca / CA_KEY).exists():
        life = timedelta(days=aggregator.load(folder, {}).identity.certificate_days)
        signed = Authority.open(place.ca, life=life).member_list(now=datetime.now(UTC))
    else:
        signed = kept(folder)
    body, signatures = decode_signed(signed)
    return decode_list(body), list(signatures)


def kept(folder: Path) -> bytes:
    """The newest list that the client or server of a directory has seen.

    Raises:
        ConfigError: none yet.
    """
    if signed := seen(folder):
        return signed
    raise ConfigError(
        "no member list was seen here yet", file=str(folder.absolute()), cure="it comes with the first masked round"
    )


def seen(folder: Path) -> bytes:
    """The same; empty where there is none."""
    import sqlite3

    for name in ("client.db", "journal.db"):
        if (path := folder / "state" / name).exists():
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
                rows = db.execute("SELECT signed FROM member_lists ORDER BY rowid DESC LIMIT 1").fetchall()
            if rows:
                return rows[0][0]
    return b""


def plain(listed: MemberList, signatures: list[Signature]) -> dict[str, object]:
    """A list as JSON carries it."""
    return {
        "federation": listed.federation,
        "number": listed.number,
        "digest": listed.digest.hex(),
        "expires_at": listed.expires_at,
        "signed_by": [key.hex() or "ca" for key, _ in signatures],
        "members": [
            {
                "name": member.name,
                "role": "server" if member.server else "client",
                "organisation": member.organisation,
                "fingerprint": f"sha256:{member.fingerprint}",
                "expires_at": member.expires_at,
            }
            for member in listed.members
        ],
    }
