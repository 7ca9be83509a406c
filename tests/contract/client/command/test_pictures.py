"""`hashmatch check` on pictures: PDQ beside the digests, and what cannot be computed."""

import hashlib
import json
import re
import struct
import zlib

import pytest
from hashmatch_client.testing import FakeList

from bench.drawings import draw, saved_as_jpeg
from hashmatch.v1 import common_pb2


@pytest.fixture
def pictures(files):
    """A picture, one that is cut short, and one that claims to be too large; all under names of other things."""
    whole = saved_as_jpeg(draw(1, 160, 120), 80)
    (files / "a.txt").write_bytes(whole)
    (files / "b.bin").write_bytes(whole[: len(whole) // 2])
    claim = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    header = struct.pack(">I", len(claim)) + b"IHDR" + claim + struct.pack(">I", zlib.crc32(b"IHDR" + claim))
    (files / "c").write_bytes(b"\x89PNG\r\n\x1a\n" + header + bytes(4) + b"IDAT" + bytes(4))
    return files


def test_pictures_are_asked_about_with_pdq_beside_their_digests(server, pictures, run):
    code, out, _ = run("check", "report/a.txt", "--algorithms", "sha256,pdq", "--output", "jsonl", "--with-hashes")
    (item,) = map(json.loads, out.splitlines())
    assert [each["algorithm"] for each in item["hashes"]] == ["sha256", "pdq"]
    assert item["hashes"][1]["quality"] == 100
    assert len(item["hashes"][1]["value"]) == 64
    assert code in (0, 11)


def test_a_picture_that_cannot_be_hashed_is_asked_about_by_its_digests_and_never_called_unknown(server, pictures, run):
    code, out, err = run("check", "report/b.bin", "report/c", "--algorithms", "sha256,pdq", "--output", "jsonl")
    items = [json.loads(line) for line in out.splitlines()]
    assert code == 11
    for item in items:
        assert item["verdict"] == "NOT_DETERMINED"
        assert [each["verdict"] for each in item["hashes"]] == ["NO_KNOWN_MATCH"]
        assert item["causes"] == [{"reason": "PICTURE_NOT_HASHED", "list": ""}]
    assert "report/b.bin: not hashed as a picture: it cannot be decoded" in err
    assert "report/c: not hashed as a picture: it is too large" in err


def test_a_match_by_digest_stands_where_the_picture_cannot_be_hashed(server, pictures, run):
    digest = hashlib.sha256((pictures / "b.bin").read_bytes()).hexdigest()
    server.publish("gamma", FakeList({digest: "G"}, body="Gamma"))
    code, out, _ = run("check", "report/b.bin", "--algorithms", "sha256,pdq")
    assert code == 10
    assert re.search(r"b\.bin +MATCH +Gamma .* exact +not hashed as a picture", out)


def test_a_file_that_is_no_picture_cannot_be_asked_about_by_pdq_alone(server, pictures, run):
    code, out, err = run("check", "report/known.jpg", "--algorithms", "pdq", "--output", "jsonl")
    assert code == 11
    assert json.loads(out)["causes"] == [{"reason": "NOT_A_PICTURE", "list": ""}]
    assert "it is no picture" in err


def test_without_the_extra_it_says_once_what_it_leaves_out(server, pictures, run, monkeypatch):
    monkeypatch.setattr("hashmatch_client.cli.check.images_available", lambda: False)
    monkeypatch.setattr("hashmatch_client.hashing.images_available", lambda: False)

    def carry_pdq(response):
        for each in getattr(response, "lists", ()):
            each.generation.counts.add(algorithm=common_pb2.ALGORITHM_PDQ, hashes=1)
        return response

    server.rewrite(carry_pdq)
    code, out, err = run("check", "report", "--output", "jsonl")
    assert code == 10
    assert err.count("left out PDQ") == 1
    assert "hashmatch[images]" in err
    assert all(each["algorithm"] != "pdq" for line in out.splitlines() for each in json.loads(line)["hashes"])
    code, _, err = run("check", "report", "--algorithms", "pdq")
    assert code == 2
    assert "hashmatch[images]" in err
