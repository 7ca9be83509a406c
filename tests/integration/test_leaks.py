"""Nothing that is written anywhere holds a hash that was listed, asked, suppressed, withdrawn or refused."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis

from hashmatch.v1 import common_pb2, list_admin_service_pb2, match_service_pb2
from tests.integration.processes import ServerProcess
from tests.integration.serving import TIMEOUT, Client, hash_of, hash_text
from tests.integration.waiting import eventually

_PREFIX = 16


def digests(purpose: str, count: int = 3) -> list[bytes]:
    """Digests of every algorithm."""
    names = ("md5", "sha1", "sha256", "sha512")
    return [
        hashlib.new(name, f"planted {purpose} {number}".encode(), usedforsecurity=False).digest()
        for name in names
        for number in range(count)
    ]


LISTED, ASKED, SUPPRESSED = digests("listed"), digests("asked"), digests("suppressed")
WITHDRAWN, MALFORMED, KEYED = digests("withdrawn"), digests("malformed"), digests("keyed")
UNAPPROVED = digests("unapproved")
PLANTED = [*LISTED, *ASKED, *SUPPRESSED, *WITHDRAWN, *MALFORMED, *KEYED, *UNAPPROVED]


def spellings(digest: bytes) -> Iterator[bytes]:
    """How a digest, or the beginning of one, could come to be written."""
    for part in {digest, digest[:_PREFIX], digest[::-1], digest[:_PREFIX][::-1]}:
        yield part
        yield part.hex().encode()
        yield part.hex().upper().encode()
        yield base64.b64encode(part).rstrip(b"=")
        yield base64.urlsafe_b64encode(part).rstrip(b"=")
        # The last characters of an encoding depend on what follows.
        yield base64.b32encode(part).rstrip(b"=")[:-1]
        yield base64.b32encode(part).rstrip(b"=")[:-1].lower()
        yield repr(part)[2:-1].encode()
    yield digest.hex().encode()[::-1]


SPELLINGS = {spelling for digest in PLANTED for spelling in spellings(digest)}


def leaks(written: dict[str, bytes]) -> list[str]:
    """The places in which any spelling stands."""
    return sorted(place for place, content in written.items() if any(each in content for each in SPELLINGS))


class Told:
    """Runs calls that fail and keeps everything that came back."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def failing(self, call: Callable[[], Any]) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        error = caught.value
        self.texts += [repr(error), error.details() or "", error.debug_error_string()]
        self.texts += [f"{key}: {value!r}" for key, value in error.trailing_metadata() or ()]


def report_feedback(client: Client, told: Told) -> None:
    """Speak of matches, of what is none, and of hashes where none belong."""

    def say(digest: bytes, list_id: str = "list", note: str = "looked at") -> Any:
        stated = match_service_pb2.HitFeedback(
            hash=hash_of(digest),
            list_id=list_id,
            judgement=match_service_pb2.FEEDBACK_JUDGEMENT_DISPUTED,
            reason=match_service_pb2.DISPUTE_REASON_LAWFUL,
            note=note,
        )
        return client.matching.ReportFeedback(
            match_service_pb2.ReportFeedbackRequest(feedback=[stated]), timeout=TIMEOUT
        )

    for digest in (*LISTED, *ASKED):
        say(digest)
    for digest in (digest for digest in KEYED if len(digest) == 32):
        say(digest, "keyed")
    told.failing(lambda: say(LISTED[0], note=LISTED[0].hex()))
    told.failing(lambda: say(LISTED[0], list_id=LISTED[0].hex()))


def act_everything(client: Client) -> Told:
    """Everything that hashes can be put through, good and bad."""
    told = Told()
    client.define()
    client.define("keyed")
    client.deliver(hash_text([*LISTED, *SUPPRESSED, *WITHDRAWN]))
    rows = [f"k{number}\t{digest.hex()}" for number, digest in enumerate(KEYED) if len(digest) == 32]
    profile = 'layout = "tsv"\nheader = false\nkey = [1]\n[[hash]]\ncolumn = 2\nalgorithm = "sha256"\n'
    client.deliver("\n".join(rows).encode(), "keyed", format="columns", profile=profile)
    # Unsound in many ways; accepted, so that the quarantine goes into every record.
    unsound = "".join(f"{digest.hex()[:-1]}\nx{digest.hex()}\n{digest.hex()}00\n" for digest in MALFORMED)
    client.deliver(hash_text([*LISTED, *SUPPRESSED, *WITHDRAWN]) + unsound.encode(), file_name="a delivery.txt")
    client.stage(hash_text(UNAPPROVED), mode=list_admin_service_pb2.DELIVERY_MODE_INCREMENTAL)
    told.failing(lambda: client.stage(hash_text(MALFORMED) + b"\0", file_name="binary"))
    told.failing(lambda: client.stage(hash_text(MALFORMED), format=MALFORMED[0].hex()))
    told.failing(lambda: client.stage(hash_text(MALFORMED), MALFORMED[1].hex() + MALFORMED[1].hex()))
    told.failing(lambda: client.stage(hash_text(MALFORMED), format="columns", profile=f'key = "{MALFORMED[2].hex()}"'))
    client.suppress(*SUPPRESSED, list_ids=["list"])
    told.failing(lambda: client.suppress(*SUPPRESSED, list_ids=[SUPPRESSED[0].hex()]))
    short = common_pb2.Hash(algorithm=common_pb2.ALGORITHM_SHA256, value=MALFORMED[0])
    told.failing(
        lambda: client.act("Suppress", list_admin_service_pb2.SuppressRequest(hashes=[short], reason="a test"))
    )
    withdrawal = list_admin_service_pb2.WithdrawEntriesRequest(
        list_id="list", hashes=map(hash_of, WITHDRAWN), reason="a test"
    )
    epoch = client.act("WithdrawEntries", withdrawal).epoch
    eventually(lambda: client.epoch() >= epoch, "the withdrawal is in force")
    for digest in PLANTED:
        client.ask(digest)
        client.batch([common_pb2.Hash(algorithm=common_pb2.ALGORITHM_SHA256, value=digest[:-1])])
        told.failing(lambda digest=digest: client.ask(digest, list_ids=[digest.hex()[:60]]))
        told.failing(lambda digest=digest: client.ask(digest, list_ids=[digest.hex()]))
    column = b"".join(digest for digest in PLANTED if len(digest) == 32)
    client.bulk(common_pb2.ALGORITHM_SHA256, column)
    told.failing(lambda: client.bulk(common_pb2.ALGORITHM_SHA256, column[:-1]))
    report_feedback(client, told)
    # A digest where a message should be, and one in a text that goes into the record as it is.
    batch_match = client.matching_channel.unary_unary("/hashmatch.v1.MatchService/BatchMatch")
    told.failing(lambda: batch_match(ASKED[0], timeout=TIMEOUT))
    reasoned = list_admin_service_pb2.WithdrawListRequest(list_id="list", reason=f"because of {LISTED[0].hex()}")
    told.failing(lambda: client.act("WithdrawList", reasoned))
    return told


def everything_written(server: ServerProcess, client: Client) -> dict[str, bytes]:
    """What lies in the store, in files and on pages, by place."""
    written = {f"page {path}": client.page(path).text.encode() for path in ("/metrics", "/readyz", "/healthz")}
    with closing(redis.Redis(unix_socket_path=str(server.data_dir / "valkey" / "valkey.sock"))) as store:
        for key in store.scan_iter():
            written[f"key {key!r}"] = key
            written[f"dump of {key!r}"] = store.dump(key)
            if store.type(key) == b"string":
                written[f"value of {key!r}"] = store.get(key)
            else:
                written[f"fields of {key!r}"] = b"\n".join(part for pair in store.hgetall(key).items() for part in pair)
    assert any(place.startswith("value of b'hashmatch:b:") for place in written)
    for path in server.data_dir.rglob("*"):
        if path.is_file() and path.name != "sealing.key":
            written[f"file {path.relative_to(server.data_dir)}"] = path.read_bytes()
    assert any("appendonly" in place for place in written)
    assert any("audit" in place for place in written)
    written["log"] = server.log_file.read_bytes()
    return written


def test_nothing_that_is_written_holds_a_planted_hash(scratch: Path) -> None:
    server = ServerProcess(scratch, **{"logs.level": "debug"})
    try:
        client = server.start()
        told = act_everything(client)
        written = everything_written(server, client)
        history = client.act("GetHistory", list_admin_service_pb2.GetHistoryRequest(list_id="list"))
        written["history"] = history.SerializeToString()
    finally:
        server.stop()
    written["log"] = server.log_file.read_bytes()
    assert leaks(written) == []
    assert leaks({text: text.encode() for text in told.texts}) == []
    # The control: had one been written, in whatever form, it would have been found.
    for spelling in spellings(ASKED[0]):
        assert leaks({**written, "log": written["log"] + b"..." + spelling}) == ["log"]


def test_the_store_holds_no_delivery_and_no_label(scratch: Path) -> None:
    """What a body calls its entries, and under which key, is sealed as well."""
    server = ServerProcess(scratch)
    try:
        client = server.start()
        client.define()
        client.deliver(hash_text(LISTED), label="planted-label", scheme="planted-scheme")
        written = everything_written(server, client)
    finally:
        server.stop()
    for place, content in written.items():
        if place != "log":
            assert b"planted-" not in content, place
