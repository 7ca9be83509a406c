"""Corrections reach the server as hashes, and leave none in what is printed."""

import hashlib
import io

import grpc
import pytest

from hashmatch.v1 import common_pb2
from hashmatch.v1 import list_admin_service_pb2 as pb

from .conftest import Failure

DIGESTS = {name: hashlib.new(name, b"planted").digest() for name in ("md5", "sha1", "sha256", "sha512")}
PLANTED = [digest.hex() for digest in DIGESTS.values()]
ALGORITHMS = [
    common_pb2.ALGORITHM_MD5,
    common_pb2.ALGORITHM_SHA1,
    common_pb2.ALGORITHM_SHA256,
    common_pb2.ALGORITHM_SHA512,
]
MESSAGES = [
    common_pb2.Hash(algorithm=number, value=digest) for number, digest in zip(ALGORITHMS, DIGESTS.values(), strict=True)
]


def hexes(count):
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]


@pytest.fixture
def file_of(tmp_path):
    def write(lines):
        path = tmp_path / "hashes.txt"
        path.write_text("\n".join(lines))
        return path

    return write


@pytest.fixture
def standard_input(monkeypatch):
    def put(text):
        raw = io.BufferedReader(io.BytesIO(text.encode()))
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(raw, "utf-8"))

    return put


def assert_nothing_leaked(run, planted=tuple(PLANTED)):
    for text in planted:
        assert text.lower() not in (run.out + run.err).lower()


def test_the_number_of_digits_decides_the_algorithm(admin, fake, file_of):
    run = admin("suppress", "--hashes", file_of([PLANTED[0].upper(), *PLANTED]), "--reason", "a false positive")
    assert run.code == 0
    assert fake.requests == [pb.SuppressRequest(hashes=MESSAGES, reason="a false positive")]
    assert_nothing_leaked(run)


def test_hashes_come_from_arguments_a_file_or_standard_input(admin, fake, file_of, standard_input):
    standard_input("\n".join(PLANTED))
    for source in (PLANTED, ("--hashes", file_of(PLANTED)), ("--hashes", "-")):
        run = admin("suppress", "--list", "alpha", "--list", "beta", "--reason", "why", *source)
        assert run.code == 0
        assert_nothing_leaked(run)
    expected = pb.SuppressRequest(hashes=MESSAGES, list_ids=["alpha", "beta"], reason="why")
    assert fake.requests == [expected] * 3


def test_what_was_done_is_said_in_numbers(admin, fake):
    fake.answers["Suppress"] = pb.SuppressResponse(epoch=9, newly_suppressed=3)
    run = admin("suppress", *PLANTED, "--reason", "why")
    assert run.out == "Suppressed 4 hashes in every list: 3 of them newly, in epoch 9.\n"
    run = admin("suppress", *PLANTED, "--reason", "why", "--dry-run", "--output", "json")
    assert run.json == {"dry_run": True, "epoch": None, "hashes": 4, "newly_suppressed": 3, "lists": []}
    assert fake.requests[-1].validate_only


def test_many_hashes_go_in_calls_of_a_thousand(admin, fake, file_of):
    fake.answers["LiftSuppression"] = [pb.LiftSuppressionResponse(epoch=n, lifted=n) for n in (1, 2, 3)]
    run = admin("unsuppress", "--hashes", file_of(hexes(2_500)), "--reason", "why")
    assert [len(request.hashes) for request in fake.requests] == [1_000, 1_000, 500]
    assert run.out == "Lifted the suppression of 6 of 2,500 hashes, in epoch 3.\n"


def test_a_failure_on_the_way_says_how_much_is_done(admin, fake, file_of):
    fake.failures = [None, Failure(grpc.StatusCode.ABORTED, "CONFLICT", "somebody else was faster")]
    run = admin("suppress", "--hashes", file_of(hexes(1_500)), "--reason", "why")
    assert run.code == 1
    assert "the first 1,000 of 1,500 hashes are done" in run.err


def test_one_bad_hash_stops_everything_and_is_not_repeated(admin, fake, file_of):
    bad = [*PLANTED, PLANTED[2][:-1], "g" * 64, "", "# a remark", *["f" * 33] * 7]
    run = admin("suppress", "--hashes", file_of(bad), "--reason", "why")
    assert run.code == 2
    assert "hashes.txt:5: " in run.err
    assert "hashes.txt:6: " in run.err
    assert "and 4 more; nothing was sent" in run.err
    assert fake.requests == []
    assert_nothing_leaked(run, (PLANTED[2][:32], "g" * 32, "f" * 32))


@pytest.mark.parametrize(
    "arguments",
    [
        ("suppress", "--reason", "why", PLANTED[2][:-1]),
        ("suppress", PLANTED[0], "--reason", "why", PLANTED[2]),
        ("suppress", f"--hash={PLANTED[2]}", "--reason", "why"),
        ("withdraw", "alpha", PLANTED[2], "--reason", "why"),
        ("rollback", "alpha", "--generation", PLANTED[2], "--reason", "why"),
        ("staging", "approve", "id", "--digest", PLANTED[2] + "0"),
        (PLANTED[2],),
    ],
)
def test_no_wrong_usage_repeats_a_hash(admin, fake, arguments):
    run = admin(*arguments)
    assert run.code == 2
    assert run.err
    assert fake.requests == []
    assert_nothing_leaked(run, [text[:32] for text in PLANTED])


def test_not_even_a_servers_message_shows_a_hash(admin, fake):
    fake.failures = [Failure(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", f"bad {PLANTED[2]}", field="hashes[0]")]
    run = admin("suppress", PLANTED[2], "--reason", "why")
    assert run.code == 1
    assert "INVALID_ARGUMENT/INVALID_FIELD: bad (hash); hashes[0] is not right; request " in run.err
    assert_nothing_leaked(run)


@pytest.mark.parametrize("arguments", [(), ("--hashes", "FILE", "ab" * 16)])
def test_hashes_come_from_exactly_one_place(admin, fake, arguments):
    assert admin("suppress", *arguments, "--reason", "why").code == 2
    assert fake.requests == []


def test_a_file_without_a_hash_is_an_error(admin, fake, file_of):
    run = admin("suppress", "--hashes", file_of(["# nothing"]), "--reason", "why")
    assert (run.code, run.err) == (2, "hashmatch-admin: no hash was given\n")


def test_entries_are_withdrawn_by_hash_and_by_key(admin, fake, file_of):
    fake.answers["WithdrawEntries"] = pb.WithdrawEntriesResponse(epoch=7, generation=5, removed=2, not_listed=3)
    run = admin(
        "withdraw", "alpha", "--hashes", file_of(PLANTED), "--key", "1001", "--key", "1002", "--reason", "body's word"
    )
    assert fake.requests == [
        pb.WithdrawEntriesRequest(list_id="alpha", hashes=MESSAGES, source_keys=["1001", "1002"], reason="body's word")
    ]
    assert run.out == ("Removed 2 hashes from alpha; 3 of what was given it did not have: generation 5, in epoch 7.\n")
    assert_nothing_leaked(run)


def test_a_withdrawal_is_one_act_or_none(admin, fake, file_of):
    run = admin("withdraw", "alpha", "--hashes", file_of(hexes(1_001)), "--reason", "why")
    assert run.code == 2
    assert fake.requests == []


def test_a_withdrawal_names_something(admin, fake):
    assert admin("withdraw", "alpha", "--reason", "why").code == 2
    assert fake.requests == []
