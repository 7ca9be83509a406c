"""Certificate files that cannot be read for a moment; the rest is in integration/test_identity.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from hashmatch.service import certificate_rotation
from hashmatch.service.certificate_rotation import CertificateFiles, Certificates
from hashmatch.service.certificates import CertificateError
from hashmatch.service.metrics import Metrics
from tests.integration.authorities import LIFETIME, Credentials, authority, now

from .conftest import ManualClock

LOADED, REFUSED = "loaded", "refused"


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path / "chain", tmp_path / "key", tmp_path / "authorities")


def install(files: CertificateFiles, issued: Credentials) -> None:
    for path, content in ((files.chain, issued.certificate), (files.key, issued.key)):
        beside = path.with_suffix(".new")
        beside.write_bytes(content)
        beside.replace(path)


def test_what_could_not_be_read_is_read_at_a_later_handshake_and_told_once(
    files: CertificateFiles,
    monkeypatch: pytest.MonkeyPatch,
    registry: CollectorRegistry,
    metrics: Metrics,
    clock: ManualClock,
    lines: list[dict[str, Any]],
    logger: Any,
) -> None:
    ours = authority("servers")
    files.authorities.write_bytes(ours.certificate)
    install(files, ours.issue_to_server(["localhost"], now=now(), lifetime=LIFETIME))
    certificates = Certificates(files, "matching", metrics, clock, logger)

    def reloads(outcome: str) -> float:
        labels = {"listener": "matching", "outcome": outcome}
        return registry.get_sample_value("hashmatch_certificate_reloads_total", labels) or 0.0

    def unreadable(file: Path) -> bytes:
        raise CertificateError(f"cannot read {file}: Too many open files")

    assert certificates._fetch() is None
    install(files, ours.issue_to_server(["localhost"], now=now(), lifetime=LIFETIME))
    with monkeypatch.context() as patch:
        patch.setattr(certificate_rotation, "_read", unreadable)
        assert certificates._fetch() is certificates._fetch() is None
    assert (reloads(LOADED), reloads(REFUSED)) == (0.0, 1.0)
    # The files have not changed since they could not be read.
    assert certificates._fetch() is not None
    assert certificates._fetch() is None
    assert (reloads(LOADED), reloads(REFUSED)) == (1.0, 1.0)
    assert [line["event"] for line in lines] == ["certificates-refused", "certificates-loaded"]
