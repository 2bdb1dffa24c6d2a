"""Certificates and the roster: what the CA decides, and everything that must not pass."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from roughfed.crypto import certificates, roster
from roughfed.crypto.issuing import CertificateAuthority
from roughfed.crypto.names import Subject, check_name, check_role, subject_of
from roughfed.errors import IdentityError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CA = CertificateAuthority.create("fed", serial=7, now=NOW)
OTHER = CertificateAuthority.create("fed", serial=7, now=NOW)
KEY = certificates.new_tls_key()
PUBLIC = certificates.read_request(certificates.new_request(KEY))

VECTOR_CA = b"""\
-----BEGIN CERTIFICATE-----
MIIBfDCCASKgAwIBAgIBATAKBggqhkjOPQQDAjAkMQwwCgYDVQQKDANmZWQxFDAS
BgNVBAMMC3JvdWdoZmVkIENBMB4XDTI1MTIzMTIzNTUwMFoXDTM2MDEwMTAwMDAw
MFowJDEMMAoGA1UECgwDZmVkMRQwEgYDVQQDDAtyb3VnaGZlZCBDQTBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABPC0SN33VsauMG0c+V0WpKdTiOJk+rfvIBbjIyBZ
rOtqCwDvLdAVBA6WdbNorV/ybdyWt+ey3mqWkB4cbwkQJP+jRTBDMB0GA1UdDgQW
BBQyAU8y1/CaY83t89PIWX378TPWkzASBgNVHRMBAf8ECDAGAQH/AgEAMA4GA1Ud
DwEB/wQEAwIChDAKBggqhkjOPQQDAgNIADBFAiBM3SFmIS//KVxWFdtFiSsWXlEx
+kiXlXAlb/mP7NbwSAIhAPtTd37XMwrSS/ibbAuCUmRkgscg0vy59T+q4LHXp0wE
-----END CERTIFICATE-----
"""
VECTOR_ENTRY = bytes.fromhex(
    "0a05616c6963651206636c69656e741a20000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f220366656428809d80cc06"
)
VECTOR_SIGNATURE = bytes.fromhex(
    "304502201b5e5b586922c3f94b1029a0fcfa8fd3d63aea668b7211d31bb526875c604284022100d474e9c1fd051a587bed04"
    "4bc170b596f0fd0c63c382466ac1215c0381faf359"
)


def issue(role: str = "client", *, name: str = "alice", ca: CertificateAuthority = CA, now: datetime = NOW) -> bytes:
    return ca.issue(PUBLIC, Subject(ca.federation, check_role(role), name), serial=42, now=now)


def reason_of(call: Callable[[], object]) -> str:
    with pytest.raises(IdentityError) as caught:
        call()
    return caught.value.reason


def test_the_ca_signs_leaves_and_no_further_cas() -> None:
    loaded = x509.load_pem_x509_certificate(CA.certificate)
    assert loaded.not_valid_after_utc - NOW == timedelta(days=3652)
    assert loaded.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    assert isinstance(loaded.public_key(), ec.EllipticCurvePublicKey)
    assert CA.federation == "fed"
    assert len(certificates.fingerprint(CA.certificate)) == 32
    assert certificates.fingerprint(CA.certificate) != certificates.fingerprint(OTHER.certificate)


def test_key_and_certificate_of_the_ca_belong_together() -> None:
    assert CertificateAuthority.load(CA.key, CA.certificate).federation == "fed"
    assert reason_of(lambda: CertificateAuthority.load(CA.key, OTHER.certificate)) == "key"
    assert "PRIVATE" not in repr(CA)


@pytest.mark.parametrize(
    ("role", "purpose", "hosts"),
    [
        ("client", ExtendedKeyUsageOID.CLIENT_AUTH, []),
        ("server", ExtendedKeyUsageOID.SERVER_AUTH, ["server.roughfed.internal"]),
    ],
)
def test_a_leaf_says_one_role_and_nothing_else(role: str, purpose: x509.ObjectIdentifier, hosts: list[str]) -> None:
    pem = issue(role)
    leaf = x509.load_pem_x509_certificate(pem)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"spiffe://fed/{role}/alice"]
    assert names.get_values_for_type(x509.DNSName) == hosts
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [purpose]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.not_valid_before_utc == NOW - timedelta(minutes=5)
    assert leaf.not_valid_after_utc == NOW + timedelta(days=7)
    assert certificates.identity_of(pem) == ("fed", role, "alice")
    assert certificates.check_issued(pem, CA.certificate, role=check_role(role), now=NOW).name == "alice"
    assert certificates.load_certificate(pem).serial_number == 42


def test_a_leaf_never_outlives_its_ca() -> None:
    late = NOW + timedelta(days=3650)
    assert x509.load_pem_x509_certificate(issue(now=late)).not_valid_after_utc == NOW + timedelta(days=3652)


def test_renewal_is_due_at_two_thirds() -> None:
    life = timedelta(days=7, minutes=5)
    assert certificates.renew_at(issue()) == NOW - timedelta(minutes=5) + life * 2 / 3


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: certificates.check_issued(issue("client"), CA.certificate, role="server", now=NOW), "role"),
        (lambda: certificates.check_issued(issue("server"), CA.certificate, role="client", now=NOW), "role"),
        (lambda: certificates.check_issued(issue(ca=OTHER), CA.certificate, role="client", now=NOW), "issuer"),
        (lambda: certificates.check_issued(CA.certificate, CA.certificate, role="client", now=NOW), "san"),
        (lambda: _check(issue(), now=NOW + timedelta(days=7, seconds=1)), "expired"),
        (lambda: _check(issue(), now=NOW - timedelta(minutes=6)), "not-yet-valid"),
        (lambda: _check(b"garbage"), "certificate"),
        (lambda: _check(leaf_with(eku=ExtendedKeyUsageOID.SERVER_AUTH)), "role"),
        (lambda: _check(leaf_with(eku=None)), "role"),
        (lambda: _check(leaf_with(uris=[])), "san"),
        (lambda: _check(leaf_with(uris=["spiffe://fed/client/a", "spiffe://fed/client/b"])), "san"),
        (lambda: _check(leaf_with(uris=["spiffe://other/client/a"])), "san"),
        (lambda: certificates.check_key(issue(), certificates.new_tls_key()), "key"),
        (lambda: certificates.load_private(b"garbage"), "key"),
    ],
)
def test_what_must_not_pass(call: Callable[[], object], reason: str) -> None:
    assert reason_of(call) == reason


def _check(pem: bytes, *, now: datetime = NOW) -> Subject:
    return certificates.check_issued(pem, CA.certificate, role="client", now=now)


def leaf_with(
    *, eku: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH, uris: list[str] | None = None
) -> bytes:
    """A leaf that our CA would never make, under its key."""
    ca = x509.load_pem_x509_certificate(CA.certificate)
    signer = serialization.load_pem_private_key(CA.key, password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    names = [x509.UniformResourceIdentifier(u) for u in (["spiffe://fed/client/a"] if uris is None else uris)]
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(ca.subject).public_key(PUBLIC)
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if eku is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([eku]), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_only_the_key_of_a_request_is_used() -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    names = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier("spiffe://fed/server/root"), x509.DNSName("server.roughfed.internal")]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(names, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    csr = builder.sign(own, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    pem = CA.issue(certificates.read_request(csr), Subject("fed", "client", "mallory"), serial=1, now=NOW)

    assert certificates.check_issued(pem, CA.certificate, role="client", now=NOW).name == "mallory"
    leaf = x509.load_pem_x509_certificate(pem)
    assert leaf.subject.rfc4514_string() == "CN=mallory"
    assert b"server.roughfed.internal" not in leaf.public_bytes(serialization.Encoding.DER)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def _csr(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _tampered() -> bytes:
    der = bytearray(x509.load_pem_x509_csr(certificates.new_request(KEY)).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1  # the last byte of the signature
    return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("csr", "message"),
    [
        (lambda: _csr(rsa.generate_private_key(65537, 2048)), "not P-256"),
        (lambda: _csr(ec.generate_private_key(ec.SECP384R1())), "not P-256"),
        (_tampered, "not signed by its own key"),
        (lambda: b"", "not a certificate signing request"),
        (issue, "not a certificate signing request"),
        (lambda: certificates.new_request(KEY) + b"\n" * 8192, "at most 8192"),
    ],
    ids=["rsa", "p384", "tampered", "empty", "certificate", "long"],
)
def test_requests_that_are_refused(csr: Callable[[], bytes], message: str) -> None:
    with pytest.raises(IdentityError, match=message) as caught:
        certificates.read_request(csr())
    assert caught.value.reason == "csr"


def test_a_second_certificate_beside_the_first_is_dropped() -> None:
    both = CA.certificate + OTHER.certificate
    assert certificates.fingerprint(both) == certificates.fingerprint(CA.certificate)
    assert certificates.only_certificate(both) == CA.certificate


@pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "a" * 64, "ä", "a\n", "..", "a_b"])
def test_names_that_are_refused(name: str) -> None:
    assert reason_of(lambda: check_name(name)) == "name"


def test_roles_that_are_refused() -> None:
    assert reason_of(lambda: check_role("admin")) == "role"


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["server.roughfed.internal"],
        ["spiffe://fed/client/a", b"spiffe://fed/client/a"],
        ["spiffe://fed/admin/a"],
        ["spiffe://fed/client/a/b"],
        ["spiffe://fed/client/a\n"],
        [b"spiffe://fed/client/\xff"],
    ],
)
def test_alternative_names_that_are_refused(names: list[str | bytes]) -> None:
    assert reason_of(lambda: subject_of(names)) == "san"


def test_the_subject_comes_out_of_an_auth_context() -> None:
    assert subject_of([b"server.roughfed.internal", b"spiffe://fed/server/s-1"]) == ("fed", "server", "s-1")


def test_roster_vector() -> None:
    roster.verify_entry(VECTOR_CA, VECTOR_ENTRY, VECTOR_SIGNATURE)


@pytest.mark.parametrize(
    ("entry", "signature"),
    [
        (VECTOR_ENTRY[:-1] + b"\x01", VECTOR_SIGNATURE),
        (VECTOR_ENTRY, VECTOR_SIGNATURE[:-1]),
        (VECTOR_ENTRY, b""),
        (VECTOR_ENTRY, OTHER.sign_roster(VECTOR_ENTRY)),
    ],
    ids=["entry", "short", "empty", "other-ca"],
)
def test_roster_signatures_that_are_refused(entry: bytes, signature: bytes) -> None:
    assert reason_of(lambda: roster.verify_entry(VECTOR_CA, entry, signature)) == "roster"


def test_a_roster_signature_is_for_the_roster_only() -> None:
    signer = serialization.load_pem_private_key(CA.key, password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    bare = signer.sign(VECTOR_ENTRY, ec.ECDSA(hashes.SHA256()))
    assert reason_of(lambda: roster.verify_entry(CA.certificate, VECTOR_ENTRY, bare)) == "roster"


def odd_certificate(old: bytes, new: bytes) -> bytes:
    """The CA's certificate with other bytes of the same length inside."""
    der = x509.load_pem_x509_certificate(CA.certificate).public_bytes(serialization.Encoding.DER)
    assert old in der
    assert len(old) == len(new)
    text = base64.encodebytes(der.replace(old, new)).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n".encode()


P256, CONSTRAINTS, KEY_ID = (bytes.fromhex(oid) for oid in ("2a8648ce3d030107", "551d13", "551d0e"))


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param((P256, P256[:-1] + b"\x7f"), id="a key of an unknown curve"),
        pytest.param((CONSTRAINTS, KEY_ID), id="an extension twice"),
        pytest.param((b"\x0c\x03fed", b"\x0c\x03\xff\xff\xff"), id="a name that is no text"),
        pytest.param((b"\x02\x01\x07", b"\x02\x01\x00"), id="a serial number of zero"),
    ],
)
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize("look", [certificates.identity_of, certificates.federation_of, certificates.fingerprint])
def test_a_certificate_is_read_whole_or_not_at_all(odd: tuple[bytes, bytes], look: Callable[[bytes], object]) -> None:
    """The library reads most of it later, and would say then what it dislikes, in its own words (found by fuzzing)."""
    with pytest.raises(IdentityError) as caught:
        look(odd_certificate(*odd))
    assert caught.value.reason == "certificate"
