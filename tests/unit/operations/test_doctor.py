"""The doctor finds what is wrong with a server, says how to mend it, and changes nothing."""

import hashlib
import json
import os
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.valkey.users import make_users
from hashmatch.admin.exits import Exit
from hashmatch.admin.main import main
from hashmatch.operations.certificate_checks import check_certificates, check_store_connection
from hashmatch.operations.doctor import examine
from hashmatch.operations.findings import Severity, worst
from hashmatch.service.config_serving import TlsSection
from hashmatch.store.floor import EpochFloor
from hashmatch.trust.audit import AuditLog
from hashmatch.trust.sealing import load_key_file

DAY = 86_400.0
DIGESTS = [hashlib.sha256(b"%d" % number).digest() for number in range(5_000)]


@pytest.fixture
def doctor(machine, clock):
    """Examines the machine; findings below a severity are left out."""

    def doctor(*settings, least=Severity.WARNING):
        return [each for each in examine(str(machine.config_file), settings, clock) if each.severity >= least]

    return doctor


@pytest.fixture
def published(office):
    office.define("alpha")
    office.deliver_hashes(DIGESTS, "alpha")
    return office


def only(findings):
    (finding,) = findings
    assert finding.mend
    return finding


def test_a_server_that_is_well_has_nothing_to_mend(doctor, published):
    assert doctor() == []
    areas = {finding.area for finding in doctor(least=Severity.WELL)}
    assert areas == {"configuration", "data directory", "sealing key", "certificates", "store", "clock", "lists"}


def test_settings_that_do_not_exist_are_all_named(doctor):
    findings = doctor("server.data_dri=x", "store.archive=perhaps")
    assert [finding.area for finding in findings] == ["configuration"] * 2
    assert "server.data_dri" in " ".join(finding.what for finding in findings)
    assert worst(findings) is Severity.ERROR


def test_a_store_that_is_down_is_the_one_error_and_what_was_served_last_is_still_looked_at(
    doctor, machine, published, clock
):
    EpochFloor(machine.data_dir / "epoch.json").raise_to(published.store.manifests.load())
    clock.advance(25 * DAY)
    down, old = doctor(f"store.url=unix://{machine.directory}/nobody.sock")
    assert (down.area, down.severity) == ("store", Severity.ERROR)
    assert (old.area, old.severity) == ("lists", Severity.WARNING)
    assert "alpha is 25 days old" in old.what


@pytest.mark.parametrize(
    ("setting", "value", "severity", "word"),
    [
        ("maxmemory-policy", "allkeys-lru", Severity.ERROR, "allkeys-lru"),
        ("appendonly", "no", Severity.WARNING, "append-only"),
        ("maxmemory", "1mb", Severity.ERROR, "MiB"),
    ],
)
def test_settings_under_which_the_store_loses_data_are_found(doctor, bad_valkey, setting, value, severity, word):
    with closing(redis.Redis.from_url(bad_valkey.url)) as client:
        client.config_set(setting, value)
    finding = only(doctor(f"store.url={bad_valkey.url}"))
    assert (finding.area, finding.severity) == ("store", severity)
    assert word in finding.what


def test_keys_that_were_evicted_are_found(doctor, bad_valkey):
    with closing(redis.Redis.from_url(bad_valkey.url)) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", "4mb")
        for number in range(100):
            client.set(f"filler{number}", bytes(100_000))
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")
    assert "were evicted" in only(doctor(f"store.url={bad_valkey.url}")).what


def test_a_replica_is_no_store(doctor, bad_valkey):
    with closing(redis.Redis.from_url(bad_valkey.url)) as client:
        client.replicaof("127.0.0.1", 1)
    assert any("slave" in finding.what for finding in doctor(f"store.url={bad_valkey.url}"))


@pytest.fixture
def as_user(machine, bad_valkey):
    """The settings for connecting as one of the shipped users."""
    users = machine.directory / "users"
    make_users(users)
    with closing(redis.Redis.from_url(bad_valkey.url)) as owner:
        for line in (users / "users.acl").read_text("utf-8").splitlines()[1:]:
            owner.execute_command("ACL", "SETUSER", *line.split()[1:])

    def as_user(name):
        password = f"store.password_file={users / f'{name}-password'}"
        return f"store.url={bad_valkey.url}", f"store.username={name}", password

    return as_user


def test_the_shipped_users_may_do_what_their_servers_need_and_tell_the_time(doctor, as_user):
    assert (
        doctor(*as_user("writer"), least=Severity.NOTE)[1:]
        == doctor(*as_user("reader"), "server.admin_listen=", least=Severity.NOTE)[1:]
    )
    assert doctor(*as_user("writer")) == []


def test_what_a_user_may_not_do_is_named(doctor, as_user):
    finding = only(doctor(*as_user("reader")))
    assert finding.severity is Severity.ERROR
    for command in ("SET", "MSET", "UNLINK", "HSET", "EVALSHA", "PUBLISH"):
        assert command in finding.what
    assert " GET," not in finding.what


def test_a_channel_that_is_not_permitted_is_found(doctor, bad_valkey):
    with closing(redis.Redis.from_url(bad_valkey.url)) as client:
        client.execute_command("ACL", "SETUSER", "default", "resetchannels")
    assert "SUBSCRIBE" in only(doctor(f"store.url={bad_valkey.url}")).what


def test_asking_for_permissions_writes_nothing(doctor, valkey):
    doctor()
    assert valkey.dbsize() == 0


@pytest.mark.parametrize("namespace", ["hashmatch", "other"])
def test_a_wrong_password_is_said_plainly(doctor, as_user, machine, namespace):
    url, user, _ = as_user("writer")
    wrong = machine.write(machine.directory / "wrong", "wrong")
    finding = only(doctor(url, user, f"store.password_file={wrong}", f"store.namespace={namespace}"))
    assert "AuthenticationError" in finding.what


def test_clocks_that_differ_are_found(doctor, monkeypatch):
    behind = time.time() - 90
    monkeypatch.setattr("hashmatch.store.inspection.time.time", lambda: behind)
    finding = only(doctor())
    assert (finding.area, finding.severity) == ("clock", Severity.ERROR)
    assert "90" in finding.what


@pytest.mark.parametrize(("days", "severity"), [(25, Severity.WARNING), (31, Severity.ERROR)])
def test_lists_that_age_are_found(doctor, published, clock, days, severity):
    clock.advance(days * DAY)
    found = [finding for finding in doctor() if "alpha" in finding.what]
    assert only(found).severity is severity


def test_a_manifest_that_nobody_renews_is_found(doctor, published, clock):
    clock.advance(8 * DAY)
    assert "expired" in only(doctor()).what


def test_missing_blocks_are_found(doctor, published, valkey):
    for key in valkey.keys("hashmatch:b:*")[::2]:
        valkey.delete(key)
    finding = only(doctor())
    assert (finding.area, finding.severity) == ("lists", Severity.ERROR)
    assert "missing or do not verify" in finding.what


def test_a_store_that_was_emptied_is_found(doctor, machine, published, valkey):
    EpochFloor(machine.data_dir / "epoch.json").raise_to(published.store.manifests.load())
    valkey.flushall()
    assert "was emptied" in only(doctor()).what


def test_an_older_manifest_than_was_served_is_found(doctor, machine, published, valkey):
    before = valkey.get("hashmatch:manifest")
    published.define("beta")
    EpochFloor(machine.data_dir / "epoch.json").raise_to(published.store.manifests.load())
    valkey.set("hashmatch:manifest", before)
    assert "older-epoch" in only(doctor()).what


def test_another_sealing_key_is_found(doctor, machine, published):
    before = load_key_file(machine.key_file).key_id
    machine.write(machine.key_file, "ab" * 32)
    assert f"the manifest is sealed under key {before}, which is none of" in only(doctor()).what


def test_how_far_a_rotation_is_is_told(doctor, machine, published):
    old = machine.write(machine.directory / "old.key", machine.key_file.read_bytes())
    machine.write(machine.key_file, "ab" * 32)
    rotating = f"sealing.old_key_files={old}"
    assert doctor(rotating) == []
    told = [each.what for each in doctor(rotating, least=Severity.NOTE)]
    assert any("still under the keys in sealing.old_key_files" in what for what in told)
    old.chmod(0o644)
    assert f"sealing.old_key_files: {old} has mode 0644" in only(doctor(rotating)).what


def test_a_missing_archive_is_a_warning(doctor, published):
    finding = only(doctor("store.archive=true"))
    assert finding.severity is Severity.WARNING
    assert "archive lacks" in finding.what


def test_files_that_are_open_to_others_are_found(doctor, machine):
    machine.key_file.chmod(0o644)
    machine.data_dir.chmod(0o755)
    assert {finding.area: finding.severity for finding in doctor()} == {
        "data directory": Severity.WARNING,
        "sealing key": Severity.ERROR,
    }


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_files_of_another_user_are_found(doctor, machine):
    os.chown(machine.write(machine.data_dir / "epoch.new", ""), 65_534, 65_534)
    assert "epoch.new" in only(doctor()).what


def test_an_audit_log_that_was_changed_is_found(doctor, machine, clock):
    log = machine.data_dir / "audit.jsonl"
    with closing(AuditLog(log, clock)) as audit:
        audit.append("define", "ann")
        audit.append("publish", "bob")
    assert doctor() == []
    log.write_bytes(log.read_bytes().replace(b"ann", b"eve"))
    assert "does not follow" in only(doctor()).what


def certificate(directory, *, ends, name="localhost"):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=90))
        .not_valid_after(ends)
    )
    if name:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=not subject)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "server.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    (directory / "server.key").write_bytes(private)
    (directory / "server.key").chmod(0o600)
    server = str(directory / "server.pem")
    return TlsSection(certificate_file=server, key_file=str(directory / "server.key"), client_ca_file=server)


def severities(tls, clock):
    return [finding.severity for finding in check_certificates(tls, clock) if finding.severity > Severity.NOTE]


@pytest.mark.parametrize(
    ("days", "expected"),
    [(60, []), (29, [Severity.WARNING] * 2), (-1, [Severity.ERROR] * 2), (91, [Severity.ERROR] * 2)],
)
def test_certificates_are_found_before_and_after_they_expire(tmp_path, clock, days, expected):
    tls = certificate(tmp_path, ends=datetime.fromtimestamp(clock.now() + days * DAY, UTC))
    assert severities(tls, clock) == expected


def test_a_certificate_for_nobody_a_strange_key_and_an_open_one_are_found(tmp_path, clock):
    ends = datetime.fromtimestamp(clock.now() + 60 * DAY, UTC)
    tls = certificate(tmp_path, ends=ends, name="")
    (tmp_path / "server.key").chmod(0o640)
    assert severities(tls, clock) == [Severity.ERROR]
    kept = (tmp_path / "server.pem").read_bytes()
    certificate(tmp_path, ends=ends)
    (tmp_path / "server.key").chmod(0o604)
    (tmp_path / "server.pem").write_bytes(kept)
    assert severities(tls, clock) == [Severity.ERROR] * 3
    (tmp_path / "server.key").write_text("no key")
    (tmp_path / "server.pem").write_text("no certificate")
    assert severities(tls, clock) == [Severity.ERROR] * 2


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://store.example.org:6379/0", "not encrypted"),
        ("redis://127.0.0.1:6379/0", ""),
        ("unix:///run/valkey.sock", ""),
        ("", ""),
        ("rediss://store.example.org:6379/0?ssl_ca_certs=/no/such.pem", "cannot read"),
    ],
)
def test_a_store_that_is_reached_unsafely_is_found(clock, url, said):
    findings = list(check_store_connection(url, clock))
    if said:
        assert said in only(findings).what
    else:
        assert findings == []


def test_the_authority_of_the_store_is_found_before_it_expires(tmp_path, clock):
    certificate(tmp_path, ends=datetime.fromtimestamp(clock.now() + 5 * DAY, UTC))
    url = f"rediss://store.example.org:6379/0?ssl_ca_certs={tmp_path / 'server.pem'}"
    assert "in 5 days" in only(check_store_connection(url, clock)).what


def test_the_exit_code_is_that_of_the_worst_finding(machine, capsys, monkeypatch):
    config = ("--config", str(machine.config_file))
    assert main(["doctor", *config]) is Exit.DONE
    machine.data_dir.chmod(0o755)
    assert main(["doctor", *config]) is Exit.WARNED
    machine.key_file.chmod(0o644)
    capsys.readouterr()
    assert main(["doctor", *config, "--output", "json"]) is Exit.FAILED
    document = json.loads(capsys.readouterr().out)
    assert document["worst"] == "error"
    assert {finding["severity"] for finding in document["findings"]} >= {"well", "warning", "error"}
    assert main(["doctor", *config]) is Exit.FAILED
    shown = capsys.readouterr().out
    assert "chmod 600" in shown
    assert "1 error, 1 warning." in shown
