"""`roughfed csr` and `roughfed enrol`: membership by files, where the CA is somebody else's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.errors import ConfigError, IdentityError

if TYPE_CHECKING:
    from roughfed.crypto.names import Subject

REQUEST = "request.pem"
MAX_PEM_BYTES = 64 << 10

CURES = {
    "request": "roughfed csr in this directory, and have its request signed",
    "key": "name the certificate for the request that roughfed csr wrote here last",
    "issuer": "put the intermediates into --chain, the one that issued the certificate first; --ca is the root",
    "expired": "have it signed anew, or set this machine's clock",
    "not-yet-valid": "wait, or set this machine's clock",
    "role": "the CA must copy the extended key usage of the request, and add none",
    "san": "the CA must copy the subject alternative names of the request: a URI, and a server's DNS name",
    "certificate": "give PEM files: the member's own, then at most two intermediates",
}
"""By the reason of a refusal."""


@dataclass(frozen=True, slots=True)
class RequestFlags:
    """Who asks."""

    name: Annotated[str, typer.Option(help="Name of the member: a-z, 0-9 and hyphens.")] = ""
    federation: Annotated[str, typer.Option(help="Name of the federation. [default: federation.name of fed.toml]")] = ""
    organisation: Annotated[str, typer.Option(help="Name of the organisation that it belongs to.")] = ""


@dataclass(frozen=True, slots=True)
class EnrolFlags:
    """What the CA gave."""

    certificate: Annotated[Path, typer.Option(help="The member's certificate (PEM).")]
    ca: Annotated[Path, typer.Option(help="The CA's root certificate (PEM): the only one to trust.")]
    chain: Annotated[
        Path | None, typer.Option(help="Intermediates (PEM), if they are not in --certificate.", show_default=False)
    ] = None
    server: Annotated[str, typer.Option(metavar="HOST:PORT", help="A client's: the federation port.")] = ""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "csr", flags=RequestFlags)(csr)
    command(app, "enrol", flags=EnrolFlags)(enrol)


def csr(context: CommandContext, flags: RequestFlags) -> Answer:
    """Make a key and a certificate request, for a CA that is not roughfed's.

    In the directory of a server (fed.toml) a server's, else a client's. The key stays here. The CA must copy the
    request's alternative names, key usage and extended key usage. Without flags, in an enrolled directory: renew.
    """
    from roughfed.client.members import file_enrolment
    from roughfed.crypto.key_file import write_public
    from roughfed.crypto.names import check_name
    from roughfed.deploy.agent import ClientFiles

    if flags.organisation:
        check_name(flags.organisation, what="organisation")
    place, subject = ClientFiles(context.folder), subject_of(context.folder, flags)
    place.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = context.folder / REQUEST
    write_public(path, file_enrolment.request(place.papers, subject, organisation=flags.organisation))
    context.say(f"wrote {path}: a request for {subject.uri}; have it signed, then roughfed enrol")
    return Answer({"request": str(path.absolute()), "subject": subject.uri, "role": subject.role})


def subject_of(folder: Path, flags: RequestFlags) -> Subject:
    """Whom a request is for.

    Raises:
        ConfigError: the flags do not say it. IdentityError: reason "name".
    """
    from roughfed.client.members import credential_files
    from roughfed.crypto.names import Subject, check_name
    from roughfed.deploy import agent, aggregator

    papers = agent.ClientFiles(folder).papers
    if credential_files.is_enrolled(papers) and not flags.name and not flags.federation:
        return credential_files.load(papers).subject
    server = (folder / "fed.toml").exists()
    federation = flags.federation or (aggregator.load(folder, {}).federation.name if server else "")
    for key, text in (("--name", flags.name), ("--federation", federation)):
        if not text:
            raise ConfigError("whose certificate is it?", key=key, cure="--name NAME --federation FEDERATION")
    check_name(federation, what="federation")
    return Subject(federation, "server" if server else "client", check_name(flags.name))


def enrol(context: CommandContext, flags: EnrolFlags) -> Answer:
    """Put a certificate from a CA that is not roughfed's in place; again, to renew it.

    It is checked first: for the key of `roughfed csr` here, from that CA, good now, and for the same name and role.
    NAME.member goes to whoever proposes the list of members (`roughfed roster propose --members`).
    """
    from roughfed.client.members import credential_files, file_enrolment
    from roughfed.crypto.key_file import write_public
    from roughfed.deploy.agent import ClientFiles
    from roughfed.deploy.roster import MEMBER

    papers = ClientFiles(context.folder).papers
    client = not (context.folder / "fed.toml").exists()
    if client and not flags.server and not credential_files.is_enrolled(papers):
        raise ConfigError("where is the server?", key="--server", cure="--server HOST:PORT, its federation port")
    pem = read_pem(flags.certificate) + (read_pem(flags.chain) if flags.chain else b"")
    root = read_pem(flags.ca)
    try:
        own = file_enrolment.enroll(papers, pem, root, server=flags.server)
    except IdentityError as error:
        cure = CURES.get(error.reason, "")
        raise ConfigError(str(error), file=str(flags.certificate), key="--certificate", cure=cure) from None
    path = context.folder / f"{own.name}{MEMBER}"
    write_public(path, own.member)
    context.say(f"enrolled as {own.name} in the federation {own.subject.federation}")
    context.say(f"wrote {path}: give it to whoever proposes the list of members; it is no secret")
    return Answer({"name": own.name, "federation": own.subject.federation, "member": str(path.absolute())})


def read_pem(path: Path) -> bytes:
    """A file of certificates.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        cure = "name a PEM file that the CA gave"
        raise ConfigError(f"cannot read it: {error.strerror}", file=str(path), cure=cure) from None
    if b"-----BEGIN CERTIFICATE-----" not in text or len(text) > MAX_PEM_BYTES:
        cure = "convert it: openssl x509 -inform DER -in FILE -out FILE.pem"
        raise ConfigError("there is no certificate in PEM form in it", file=str(path), cure=cure)
    return text if text.endswith(b"\n") else text + b"\n"
