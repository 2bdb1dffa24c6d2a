"""Certificates of a CA that is somebody else's: what is asked for, what passes, what is refused, what is renewed."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from roughfed.client.members import credential_files, enrol, file_enrolment
from roughfed.client.members.credential_files import Credentials
from roughfed.client.members.renewal import Renewal
from roughfed.config.client import ClientConfig
from roughfed.crypto import certificates, issuing, roster
from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.issuing import CertificateAuthority
from roughfed.crypto.names import Subject
from roughfed.deploy import agent
from roughfed.deploy.cli import app
from roughfed.errors import ConfigError, IdentityError, Unreachable
from roughfed.messages import RENEW, Reconnect, Seen
from roughfed.server.backup.signer import certified
from roughfed.server.storage.proof import proof_of
from roughfed.wire.enrolment import encode_member, encode_roster_entry, open_member
from tests.external_ca import DAY, ExternalCA
from tests.unit.documents import blocks, commands
from tests.unit.server.storage.test_rolled_back import KEY as SIGNER
from tests.unit.server.storage.test_rolled_back import RUN, header, signed

ROOT, OTHER = ExternalCA.root(), ExternalCA.root("Another Root")
ISSUING = ROOT.intermediate()
ALICE = Subject("fed", "client", "alice")
KEY = certificates.new_tls_key()


def request(subject: Subject = ALICE, key: bytes = KEY) -> bytes:
    return issuing.new_request(key, subject)


def entry_of(chain: bytes, *, subject: Subject = ALICE, key: bytes = KEY, identity: IdentityKey | None = None) -> bytes:
    """A roster entry that the holder of a certificate's key signs."""
    public = (identity or IdentityKey.generate()).public_key
    entry = encode_roster_entry(roster.RosterEntry(subject.name, subject.role, public, subject.federation, 0))
    signature = roster.sign_entry(certificates.load_private(key), entry)
    return encode_member(entry, signature, certificates.encode_chain(chain))


def refused(chain: bytes, *, root: bytes = ROOT.pem, subject: Subject = ALICE, federation: str = "fed") -> str:
    """Why such a certificate is refused, the same by both who look: as papers, and as a member's roster entry."""
    with pytest.raises(IdentityError) as first:
        certificates.check_issued(chain, root, role=subject.role, now=datetime.now(UTC), federation=federation)
    with pytest.raises(IdentityError) as second:
        open_member(entry_of(chain, subject=subject), root, federation=federation)
    assert first.value.reason == second.value.reason
    return f"{first.value.reason}: {first.value}"


# -- the chain ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", [0, 1, 2])
@pytest.mark.parametrize("role", ["client", "server"])
def test_a_certificate_is_followed_to_the_root_over_at_most_two_intermediates(below: int, role: str) -> None:
    ca = ROOT
    for level in range(below):
        ca = ca.intermediate(f"level {level}")
    subject = Subject("fed", "server" if role == "server" else "client", "alice")
    chain = ca.sign(request(subject)) + ca.chain
    identity = IdentityKey.generate()
    now = datetime.now(UTC)
    assert certificates.check_issued(chain, ROOT.pem, role=subject.role, now=now, federation="fed") == subject
    opened = open_member(entry_of(chain, subject=subject, identity=identity), ROOT.pem, federation="fed")
    assert (opened.subject, opened.identity_key) == (subject, identity.public_key)


def test_a_request_says_what_roughfeds_own_ca_says() -> None:
    """To the byte: whoever copies a request's extensions issues what `roughfed` itself would."""
    ca = CertificateAuthority.create("fed", serial=7, now=datetime.now(UTC))
    public = certificates.read_request(certificates.new_request(KEY))
    for subject in (ALICE, Subject("fed", "server", "aggregator")):
        own = x509.load_pem_x509_certificate(ca.issue(public, subject, serial=9, now=datetime.now(UTC)))
        asked = x509.load_pem_x509_csr(request(subject))
        said = {each.oid: (each.critical, each.value) for each in own.extensions}
        assert {each.oid: (each.critical, each.value) for each in asked.extensions}.items() <= said.items()
        assert asked.subject == own.subject
        assert {
            x509.OID_AUTHORITY_KEY_IDENTIFIER,
            x509.OID_SUBJECT_KEY_IDENTIFIER,
        } == said.keys() - {each.oid for each in asked.extensions}  # these are the issuer's to say


def test_another_root_is_refused() -> None:
    assert refused(OTHER.sign(request())).startswith("issuer: the certificate was not issued by this federation's CA")
    foreign = OTHER.intermediate()
    assert "intermediate" in refused(foreign.sign(request()) + foreign.chain)
    assert refused(ISSUING.sign(request())).startswith("issuer")  # the intermediate is missing
    assert refused(ISSUING.sign(request()) + foreign.chain).startswith("issuer")


def test_an_intermediate_that_has_expired_is_refused_whatever_the_leaf_says() -> None:
    old = ROOT.intermediate(ends=-DAY)
    chain = old.sign(request()) + old.chain
    assert refused(chain).startswith("expired: the intermediate CN=Example Corp Issuing,O=Example Corp expired at")
    entry = entry_of(chain)
    assert open_member(entry, ROOT.pem, federation="fed", dated=False).name == "alice"  # signed in its time


def test_a_leaf_is_no_ca() -> None:
    leaf = ISSUING.sign(request(Subject("fed", "client", "mallory")))
    posing = ExternalCA(certificates.load_private(KEY), x509.load_pem_x509_certificate(leaf), leaf + ISSUING.chain)
    assert "is no CA's" in refused(posing.sign(request()) + posing.chain)


@pytest.mark.parametrize(
    ("extension", "critical", "why"),
    [
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False, "is for other purposes"),
        (x509.NameConstraints([x509.DNSName("example.com")], None), True, "roughfed does not work out (2.5.29.30)"),
        (x509.KeyUsage(True, *[False] * 8), True, "may not sign certificates"),
    ],
)
def test_a_ca_that_may_not_issue_this_is_refused(extension: x509.ExtensionType, critical: bool, why: str) -> None:
    ca = ROOT.intermediate(extensions=[(extension, critical)])
    assert why in refused(ca.sign(request()) + ca.chain)


def test_a_ca_for_the_purpose_may_issue() -> None:
    ca = ROOT.intermediate(extensions=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)])
    assert open_member(entry_of(ca.sign(request()) + ca.chain), ROOT.pem, federation="fed").name == "alice"


def test_the_length_of_a_path_is_the_cas_to_say_and_three_is_the_most() -> None:
    own = CertificateAuthority.create("fed", serial=7, now=datetime.now(UTC))  # "no CA below me"
    strict = ExternalCA(certificates.load_private(own.key), x509.load_pem_x509_certificate(own.certificate))
    below = strict.intermediate()
    chain = below.sign(request()) + below.chain
    assert "allows 0 intermediates below it, there are 1" in refused(chain, root=own.certificate)
    deep = ROOT.intermediate("one").intermediate("two").intermediate("three")
    with pytest.raises(IdentityError, match="4 certificates: want the member's own, and at most 2 intermediates"):
        certificates.check_issued(
            deep.sign(request()) + deep.chain, ROOT.pem, role="client", now=datetime.now(UTC), federation="fed"
        )
    with pytest.raises(IdentityError, match="a chain of 3 certificates, or a long one"):
        certificates.decode_chain([bytes(4000)] * 3)  # before anything is parsed


def test_another_federation_role_or_name_is_refused() -> None:
    chain = ISSUING.sign(request()) + ISSUING.chain
    assert refused(chain, federation="other").startswith("san: the certificate is of federation 'fed', not 'other'")
    with pytest.raises(IdentityError, match="is not a server's"):
        certificates.check_issued(chain, ROOT.pem, role="server", now=datetime.now(UTC), federation="fed")
    for other in (ALICE._replace(name="bob"), ALICE._replace(role="server"), ALICE._replace(federation="other")):
        with pytest.raises(IdentityError, match="beside the certificate of spiffe://fed/client/alice"):
            open_member(entry_of(chain, subject=other), ROOT.pem, federation="fed")
    with pytest.raises(IdentityError, match="not signed"):  # somebody else's certificate, and the own key
        open_member(entry_of(chain, key=certificates.new_tls_key()), ROOT.pem, federation="fed")
    bare = encode_member(encode_roster_entry(roster.RosterEntry("alice", "client", bytes(32), "fed", 0)), b"")
    with pytest.raises(IdentityError, match="0 certificates"):
        open_member(bare, ROOT.pem, federation="fed")


def test_a_members_own_word_counts_for_nothing_where_the_ca_is_the_federations() -> None:
    """Else whoever has a TLS key, and not the identity key, could give its name another identity."""
    ca = CertificateAuthority.create("fed", serial=7, now=datetime.now(UTC))
    public = certificates.read_request(certificates.new_request(KEY))
    chain = ca.issue(public, ALICE, serial=9, now=datetime.now(UTC))
    with pytest.raises(IdentityError, match="not signed by this federation's CA"):
        open_member(entry_of(chain), ca.certificate)


# -- by files ----------------------------------------------------------------------------------------------------------


def join(
    folder: Path, *, subject: Subject = ALICE, ca: ExternalCA = ISSUING, ends: timedelta = 10 * DAY
) -> Credentials:
    signed = ca.sign(file_enrolment.request(folder, subject, organisation="corp"), ends=ends)
    return file_enrolment.enroll(folder, signed + ca.chain + ROOT.pem, ROOT.pem, server="fed.example.org:8443")


def test_enrolled_by_files(tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    again = file_enrolment.request(folder, ALICE)
    assert (
        x509.load_pem_x509_csr(again).public_key()
        == x509.load_pem_x509_csr(file_enrolment.request(folder, ALICE)).public_key()
    )
    assert {path.name: path.stat().st_mode & 0o777 for path in (folder / "pending").glob("*.key")} == {
        "tls.key": 0o600,
        "identity.key": 0o600,
    }
    own = join(folder)
    assert (own.subject, own.external, own.record.federation_address) == (ALICE, "fed", "fed.example.org:8443")
    assert own.certificate.count(b"BEGIN") == 2  # the own one and the intermediate; the root is trusted anyway
    assert open_member(own.member, own.ca_certificate, federation="fed").identity_key == own.identity.public_key
    assert credential_files.load(folder) == own


def test_a_renewal_has_a_new_key_and_the_same_identity(tmp_path: Path) -> None:
    first = join(tmp_path)
    signed = ISSUING.sign(file_enrolment.request(tmp_path, ALICE))
    assert credential_files.load(tmp_path) == first  # a request changes nothing
    second = file_enrolment.enroll(tmp_path, signed + ISSUING.chain, ROOT.pem)
    assert second.record == first.record
    assert (second.tls_key != first.tls_key, second.identity.public_key) == (True, first.identity.public_key)
    assert open_member(second.member, ROOT.pem, federation="fed").identity_key == first.identity.public_key
    assert certificates.organisation_of(certificates.load_certificate(second.certificate)) == "corp"
    third = file_enrolment.enroll(tmp_path, signed + ISSUING.chain, ROOT.pem)  # typed twice
    assert third.certificate == second.certificate
    with pytest.raises(IdentityError, match="is enrolled here, and stays"):
        file_enrolment.request(tmp_path, ALICE._replace(name="bob"))


def test_nothing_is_renewed_over_the_network(tmp_path: Path) -> None:
    own = join(tmp_path)
    assert asyncio.run(enrol.renew(tmp_path, force=True)) is False  # good, and perhaps it was put there just now
    with pytest.raises(Unreachable, match="renews nothing") as caught:
        asyncio.run(enrol.renew(tmp_path, new_key=True))
    assert caught.value.cure == enrol.BY_FILES
    due = certificates.renew_at(own.certificate) + timedelta(minutes=1)
    with pytest.raises(Unreachable, match="renews nothing"):
        asyncio.run(enrol.renew(tmp_path, now=due))
    assert credential_files.load(tmp_path) == own
    with pytest.raises(ConfigError, match=r"there is no members\.list") as absent:
        asyncio.run(enrol.fetch_members(tmp_path))
    assert "roughfed roster propose --members" in absent.value.cure


def test_a_server_goes_on_with_the_certificate_that_was_put_there(tmp_path: Path) -> None:
    from roughfed.deploy.aggregator import from_enrolment

    server = Subject("fed", "server", "aggregator")
    join(tmp_path, subject=server)

    async def twice() -> None:
        obtain = from_enrolment(tmp_path)
        before = await obtain()
        file_enrolment.enroll(
            tmp_path, ISSUING.sign(file_enrolment.request(tmp_path, server)) + ISSUING.chain, ROOT.pem
        )
        after = await obtain()
        assert (before.external, before.certificate != after.certificate) == ("fed", True)
        assert open_member(after.member, ROOT.pem, federation="fed").identity_key == before.identity.public_key

    asyncio.run(twice())


def test_a_backup_is_held_against_the_servers_own_entry(tmp_path: Path) -> None:
    own = join(tmp_path / "papers", subject=Subject("fed", "server", "aggregator"))
    assert certified(tmp_path) == {own.identity.public_key}


def test_a_header_proves_a_round_also_after_the_end_of_its_servers_certificate() -> None:
    """A client that was away for long, and a server that was restored meanwhile."""
    subject = Subject("fed", "server", "aggregator")
    chain = ISSUING.sign(request(subject), ends=-DAY / 48) + ISSUING.chain
    entry = entry_of(chain, subject=subject, identity=SIGNER)
    found = proof_of(Seen(signed(header(7)), entry), run=RUN, ca_certificate=ROOT.pem, federation="fed")
    assert found is not None
    assert found.header.round == 7
    with pytest.raises(IdentityError, match="expired"):
        open_member(entry, ROOT.pem, federation="fed")  # but it greets nobody


def test_a_client_does_not_promise_a_new_key_that_it_cannot_get(tmp_path: Path) -> None:
    join(tmp_path)

    async def scenario() -> None:
        renewal = Renewal(tmp_path)
        await renewal.credentials()
        assert renewal.accept(Reconnect(0.0, RENEW)) is None  # the server's wish; the session goes on
        assert renewal.request_key() is False

    asyncio.run(scenario())


# -- what is typed -----------------------------------------------------------------------------------------------------


def typed(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """A command's answer: with `--json` the last line."""
    app.run([*(str(each) for each in arguments), "--json"])
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def put(path: Path, pem: bytes) -> Path:
    path.write_bytes(pem)
    return path


@pytest.mark.parametrize(
    ("make", "cause", "cure"),
    [
        (OTHER.sign, "was not issued by this federation's CA", "--chain"),
        (lambda csr: ISSUING.sign(csr, ends=-DAY / 48) + ISSUING.chain, "expired at", "anew"),
        (lambda _: ISSUING.sign(request()) + ISSUING.chain, "is for another key", "roughfed csr"),
        (lambda _: ISSUING.sign(request(ALICE._replace(name="bob"), key=KEY)), "is for another key", "roughfed csr"),
        (lambda _: ISSUING.chain, "is for another key", "roughfed csr"),
    ],
)
def test_a_certificate_that_does_not_fit_is_refused_with_a_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[bytes], bytes], cause: str, cure: str
) -> None:
    typed(capsys, "csr", "--dir", tmp_path, "--name", "alice", "--federation", "fed")
    signed = put(tmp_path / "signed.pem", make((tmp_path / "request.pem").read_bytes()))
    root = put(tmp_path / "root.pem", ROOT.pem)
    said = typed(capsys, "enrol", "--dir", tmp_path, "--certificate", signed, "--ca", root, "--server", "a:1")["error"]
    assert (said["reason"], said["file"], said["key"]) == ("config", str(signed), "--certificate")
    assert cause in said["cause"]
    assert cure in said["cure"]
    assert not credential_files.is_enrolled(tmp_path / "state" / "papers")


@pytest.mark.parametrize(
    "other", [ALICE._replace(name="bob"), ALICE._replace(federation="other"), ALICE._replace(role="server")]
)
def test_a_ca_that_writes_another_name_is_refused(tmp_path: Path, other: Subject) -> None:
    asked = x509.load_pem_x509_csr(file_enrolment.request(tmp_path, ALICE))
    mine = (tmp_path / "pending" / "tls.key").read_bytes()
    signed = ISSUING.sign(issuing.new_request(mine, other))
    assert asked.public_key() == x509.load_pem_x509_certificate(signed).public_key()
    with pytest.raises(IdentityError) as caught:
        file_enrolment.enroll(tmp_path, signed + ISSUING.chain, ROOT.pem)
    assert caught.value.reason == ("role" if other.role == "server" else "san")
    assert not credential_files.is_enrolled(tmp_path)


def test_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = put(tmp_path / "root.pem", ROOT.pem)
    there = ("--certificate", root, "--ca", root, "--server", "a:1")
    for arguments, cause in (
        (("csr", "--name", "alice"), "whose certificate is it?"),
        (("enrol", "--certificate", root, "--ca", root), "where is the server?"),
        (("enrol", *there), "no request was made here"),
        (("enrol", "--certificate", tmp_path / "none", *there[2:]), "cannot read it"),
        (("enrol", "--certificate", put(tmp_path / "der", b"0\x82"), *there[2:]), "no certificate in PEM form"),
    ):
        said = typed(capsys, *arguments, "--dir", tmp_path / "d")["error"]
        assert cause in said["cause"]
        assert said["cure"]


def test_a_list_is_proposed_from_the_members_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    papers, members = tmp_path / "server" / "state" / "papers", tmp_path / "members"
    papers.parent.mkdir(parents=True)
    members.mkdir()
    join(papers, subject=Subject("fed", "server", "aggregator"))
    keys = {}
    for name in ("bob", "alice"):
        own = join(tmp_path / name, subject=ALICE._replace(name=name))
        put(members / f"{name}.member", own.member)
        keys[name] = own.identity.public_key
    propose = ("roster", "propose", "--dir", tmp_path / "server", "--members", members)
    said = typed(capsys, *propose)
    assert [(m["name"], m["role"], m["organisation"]) for m in said["members"]] == [
        ("aggregator", "server", "corp"),
        ("alice", "client", "corp"),
        ("bob", "client", "corp"),
    ]
    assert (said["number"], typed(capsys, *propose)["number"]) == (1, 2)
    twin = join(tmp_path / "twin")
    put(members / "twin.member", twin.member)
    assert "alice is there twice, with two keys" in str(typed(capsys, *propose)["error"])
    foreign = OTHER.sign(file_enrolment.request(tmp_path / "foreign", ALICE._replace(name="carol")))
    put(members / "twin.member", file_enrolment.enroll(tmp_path / "foreign", foreign, OTHER.pem).member)
    assert "this is no member" in str(typed(capsys, *propose)["error"])


def test_a_client_that_knows_no_organisation_is_told_before_it_starts(tmp_path: Path) -> None:
    join(tmp_path / "state" / "papers")
    config = ClientConfig()
    with pytest.raises(ConfigError, match="this client knows none"):
        agent.organisations(tmp_path, config)
    clear = config.model_copy(update={"policy": config.policy.model_copy(update={"server_sees": "updates"})})
    assert agent.organisations(tmp_path, clear) is None  # no list in rounds in the clear


@pytest.mark.parametrize(("ends", "well"), [(10 * DAY, True), (-DAY / 48, False)])
def test_the_doctor_reads_papers_by_files(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ends: timedelta,
    well: bool,
) -> None:
    papers = tmp_path / "state" / "papers"
    own = join(papers)
    if not well:  # it has ended since
        signed = ISSUING.sign(request(ALICE, own.tls_key), ends=ends) + ISSUING.chain
        (papers / "certificate.pem").write_bytes(signed)
    said = typed(capsys, "doctor", "--dir", tmp_path, "--offline", "--only", "certificate")
    assert said["well"] is well
    (end,) = [each for each in said["findings"] if each["about"] == "end"]
    assert (end["state"] == "ok", enrol.BY_FILES in end["cure"]) == (well, not well)


def test_init_without_a_ca(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed(capsys, "init", "--no-ca", "--name", "fed", "--dir", tmp_path)
    assert (tmp_path / "fed.toml").exists()
    assert not (tmp_path / "state" / "ca").exists()
    said = typed(capsys, "csr", "--dir", tmp_path, "--name", "aggregator")
    assert said["subject"] == "spiffe://fed/server/aggregator"


def test_the_lines_of_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "root.pem", ROOT.pem)
    put(tmp_path / "issuing.pem", ISSUING.pem)
    put(tmp_path / "issuing.key", ISSUING.key_pem)
    (block,) = [b for b in blocks("sh") if b.about.endswith("test_external_ca.py::test_the_lines_of_the_document")]
    for line in commands(block):
        if line.startswith("roughfed"):
            assert app.run(shlex.split(line)[1:]) == 0, capsys.readouterr().err
        else:
            subprocess.run(shlex.split(line), check=True, capture_output=True)
    listed = typed(capsys, "roster", "show", "--dir", "server")
    assert [(m["name"], m["organisation"]) for m in listed["members"]] == [("aggregator", ""), ("hospital-a", "north")]
    assert credential_files.load(tmp_path / "hospital-a" / "state" / "papers").external == "lab"
