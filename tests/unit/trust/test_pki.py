"""What the authority of a trial issues: exactly what a server takes, and keys that only their owner reads."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509

from hashmatch.operations.pki import TrialPki
from hashmatch.service.identity import caller_in_certificate
from hashmatch.trust.pki import Authority, Credentials, PkiError

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
URI = "spiffe://example.org/clients/uploads"


@pytest.fixture
def authority() -> Authority:
    return Authority.create("authority", now=NOW, lifetime=DAY)


def test_a_caller_has_one_uri_and_no_other_name(authority: Authority) -> None:
    issued = authority.issue_to_caller(URI, now=NOW, lifetime=DAY)
    caller = caller_in_certificate(issued.certificate)
    assert caller.name == URI
    assert caller.expires_at == (NOW + DAY).timestamp()
    names = x509.load_pem_x509_certificate(issued.certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert len(list(names.value)) == 1


def test_a_server_is_no_caller(authority: Authority) -> None:
    issued = authority.issue_to_server(["localhost", "::1"], now=NOW, lifetime=DAY)
    names = x509.load_pem_x509_certificate(issued.certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert not names.value.get_values_for_type(x509.UniformResourceIdentifier)
    assert names.value.get_values_for_type(x509.DNSName) == ["localhost"]


def test_what_an_authority_issued_verifies_also_after_it_was_written_and_read(authority: Authority) -> None:
    again = Authority.load(authority.credentials)
    issued = x509.load_pem_x509_certificate(again.issue_to_caller(URI, now=NOW, lifetime=DAY).certificate)
    issued.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))


@pytest.mark.parametrize("uri", ["", "uploads", "spiffe://example.org/a b", "spiffe://", "spiffe://x/" + "a" * 300])
def test_a_name_that_is_no_uri_is_refused(authority: Authority, uri: str) -> None:
    with pytest.raises(PkiError):
        authority.issue_to_caller(uri, now=NOW, lifetime=DAY)


@pytest.mark.parametrize("hosts", [[], ["a b"], [""], ["spiffe://x/y"]])
def test_a_name_that_is_no_host_is_refused(authority: Authority, hosts: list[str]) -> None:
    with pytest.raises(PkiError):
        authority.issue_to_server(hosts, now=NOW, lifetime=DAY)


def test_what_is_no_authority_is_refused(authority: Authority) -> None:
    other = Authority.create("other", now=NOW, lifetime=DAY)
    for certificate, key in (
        (b"", b""),
        (authority.certificate, b"x"),
        (authority.certificate, other.credentials.key),
    ):
        with pytest.raises(PkiError):
            Authority.load(Credentials(certificate, key))


def test_every_key_is_for_its_owner_alone_and_nothing_is_overwritten(tmp_path: Path) -> None:
    trial = TrialPki(tmp_path / "pki", now=NOW, lifetime=DAY)
    trial.make("example.org", ["localhost"])
    issued = trial.issue_to_caller("client", "re.scan")
    assert issued.uri == "spiffe://example.org/clients/re.scan"
    keys = list((tmp_path / "pki").rglob("*.key"))
    assert len(keys) == 9
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    with pytest.raises(PkiError, match="exists"):
        trial.issue_to_caller("client", "re.scan")
    with pytest.raises(PkiError, match="already"):
        trial.make("example.org", ["localhost"])
    for name in ("../up", "", "A", "a/b"):
        with pytest.raises(PkiError):
            trial.issue_to_caller("client", name)


def test_a_key_is_not_shown(authority: Authority) -> None:
    assert "PRIVATE" not in repr(authority.credentials)
