"""A delivery arrives whole, or the server knows that it did not."""

import hashlib
import os
import tempfile

import grpc
import pytest

from hashmatch.admin.delivery import Delivery
from hashmatch.v1 import list_admin_service_pb2 as pb

from .conftest import Failure, failing_gate, staging

MIB = 1024 * 1024
PLACE = ("--list", "alpha", "--format", "hash-text", "--mode", "full")


@pytest.fixture
def delivery(tmp_path):
    path = tmp_path / "delivery.txt"
    path.write_bytes(os.urandom(3 * MIB + 17))
    return path


@pytest.fixture
def standard_input():
    """Puts bytes on the real standard input of this process."""
    kept = os.dup(0)

    def put(content):
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.seek(0)
            os.dup2(file.fileno(), 0)

    yield put
    os.dup2(kept, 0)
    os.close(kept)


def test_a_file_is_sent_in_order_and_in_chunks_within_the_contracts_limit(admin, fake, delivery):
    assert admin("stage", delivery, *PLACE).code == 0
    assert b"".join(fake.upload.chunks) == delivery.read_bytes()
    assert max(map(len, fake.upload.chunks)) <= MIB
    assert fake.upload.whole


def test_the_header_of_a_file_states_its_digest(admin, fake, delivery):
    admin("stage", delivery, *PLACE)
    assert fake.upload.header.delivery_sha256 == hashlib.sha256(delivery.read_bytes()).digest()
    assert fake.upload.header.file_name == "delivery.txt"


def test_standard_input_is_sent_without_a_digest(admin, fake, standard_input):
    content = os.urandom(MIB)
    standard_input(content)
    assert admin("stage", "-", *PLACE).code == 0
    assert b"".join(fake.upload.chunks) == content
    assert fake.upload.header.delivery_sha256 == b""
    assert fake.upload.header.file_name == ""


def test_an_empty_delivery_is_a_header_and_an_end(admin, fake, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.touch()
    assert admin("stage", empty, *PLACE).code == 0
    assert fake.upload.whole
    assert fake.upload.chunks == []


def test_the_header_says_what_the_command_line_says(admin, fake, tmp_path):
    profile = tmp_path / "profile.toml"
    profile.write_text('layout = "csv"\n')
    table = tmp_path / "table.csv"
    table.write_text("a,b\n")
    options = ("--label", "A1", "--scheme", "own", "--jurisdiction", "NL", "--declared-records", 0)
    run = admin(
        *("stage", table, "--list", "alpha", "--format", "columns", "--mode", "incremental", "--profile", profile),
        *("--as-of", "2026-01-01", "--request-id", "r1", "--dry-run", *options),
    )
    assert run.code == 0
    header = fake.upload.header
    assert (header.list_id, header.format, header.mode) == ("alpha", "columns", pb.DELIVERY_MODE_INCREMENTAL)
    assert (header.label, header.scheme, header.jurisdiction) == ("A1", "own", "NL")
    assert header.profile == 'layout = "csv"\n'
    assert header.as_of.ToJsonString() == "2026-01-01T00:00:00Z"
    assert header.HasField("declared_records")
    assert header.declared_records == 0
    assert header.request_id == "r1"
    assert header.validate_only


def test_what_is_not_said_is_not_in_the_header(admin, fake, delivery):
    admin("stage", delivery, *PLACE)
    assert not fake.upload.header.HasField("as_of")
    assert not fake.upload.header.HasField("declared_records")


def test_a_stage_call_has_an_hour_unless_told_otherwise(admin, fake, delivery):
    admin("stage", delivery, *PLACE)
    admin("stage", delivery, *PLACE, "--timeout", 7)
    assert 3_500 < fake.remaining[0] <= 3_600
    assert fake.remaining[1] <= 7


def test_a_delivery_that_cannot_be_read_to_its_end_is_never_taken_for_a_whole_one(admin, fake, delivery, monkeypatch):
    def chunks(_):
        yield b"the beginning"
        assert fake.upload.begun.wait(30)  # a call given up before the server took it up would show nothing
        raise OSError(5, "Input/output error", "delivery.txt")

    monkeypatch.setattr(Delivery, "chunks", chunks)
    run = admin("stage", delivery, *PLACE)
    assert run.code == 1
    assert run.err == "hashmatch-admin: delivery.txt: Input/output error\n"
    assert fake.upload.over.wait(30)
    assert not fake.upload.whole


def test_a_server_that_refuses_in_the_middle_is_heard(admin, fake, delivery):
    fake.failures = [Failure(grpc.StatusCode.NOT_FOUND, "LIST_NOT_FOUND", "there is no such list")]
    run = admin("stage", delivery, *PLACE)
    assert run.code == 1
    assert "NOT_FOUND/LIST_NOT_FOUND: there is no such list; request " in run.err


def test_the_report_of_another_delivery_is_not_shown_as_this_ones(admin, fake, delivery):
    fake.staging = staging(delivery_sha256=bytes(32))
    run = admin("stage", delivery, *PLACE, "--request-id", "used-before")
    assert run.code == 1
    assert run.out == ""
    assert "is about another delivery; was the request id used before?" in run.err


def test_the_report_says_what_was_found_and_what_to_do(admin, fake, delivery):
    fake.staging.report.gates.append(failing_gate())
    run = admin("stage", delivery, *PLACE)
    words = " ".join(run.out.split())
    assert "1,002 read = 1,000 stored + 1 duplicate + 1 quarantined + 0 removals" in words
    assert "wrong-length 1 17" in words
    assert "removals NOT MET too many" in words
    assert f"hashmatch-admin staging approve 0123456789abcdef --digest {fake.staging.approval_digest.hex()}" in words
    assert "hashmatch-admin staging publish 0123456789abcdef --accept-gate removals --reason TEXT" in words
    assert run.err == ""


def test_the_report_as_json_is_a_document(admin, delivery):
    run = admin("stage", delivery, *PLACE, "--output", "json")
    assert run.json["staging_id"] == "0123456789abcdef"
    assert run.json["mode"] == "FULL"
    assert run.json["report"]["hashes"] == {"sha256": 1_000}
    assert run.json["report"]["quarantine"] == [{"reason": "wrong-length", "count": 1, "example_records": [17]}]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--list", "alpha", "--format", "columns", "--mode", "full"),
        (*PLACE, "--profile", "profile.toml"),
    ],
)
def test_a_profile_goes_with_columns_and_with_nothing_else(admin, fake, delivery, arguments):
    run = admin("stage", delivery, *arguments)
    assert run.code == 2
    assert fake.upload.header is None


def test_a_file_that_is_not_there_is_said_in_one_line(admin, fake, tmp_path):
    run = admin("stage", tmp_path / "nothing", *PLACE)
    assert run.code == 1
    assert run.err.endswith("nothing: No such file or directory\n")
    assert run.err.count("\n") == 1
    assert fake.upload.header is None
