"""What the bytes of a delivery say of its format."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.formats.detection import detected_format
from hashmatch.formats.registry import FORMATS, HEAD_SIZE

MD5 = hashlib.md5(b"a benign file").hexdigest()
ICSE = (
    b"Baseline;MD5;SHA1;PhotoDNA;Image ID;Is distributed;Victim identified;Offender identified;Series name;"
    b"Number of submissions;File Available;Media Type\n"
)
NCMEC = b'<?xml version="1.0"?><queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2"></queryResult>'
VICS = b'{"@odata.context":"http://github.com/VICSDataModel/2.0.xml/US/$metadata#Media","value":[]}'
SAMPLES = {
    "bundle": b'{"hashmatch_bundle":1,"definition":{}}\n',
    "ncmec": NCMEC,
    "vics": VICS,
    "stopncii": b'{"count": 0, "hashRecords": [], "hasMoreRecords": false}',
    "tech-against-terrorism": b'{"count": 0, "next": null, "checkpoint": "1,2", "results": []}',
    "threatexchange": b'{"data": [{"id": "1", "indicator": "x", "type": "HASH_MD5", "descriptors": {"data": []}}]}',
    "icse": ICSE,
    "nsrl-csv": b'"SHA-1","MD5","CRC32","FileName"\r\n',
    "nsrl-sqlite": b"SQLite format 3\0" + bytes(100),
    "hash-text": f"{MD5}  a name\n{MD5[::-1]}\n".encode(),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_every_format_is_told_by_its_bytes(name):
    found = detected_format(SAMPLES[name])
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("name", SAMPLES)
def test_no_format_claims_the_bytes_of_another(name):
    assert [each.name for each in FORMATS.values() if each.recognises and each.recognises(SAMPLES[name])] == [
        name for _ in range(1) if FORMATS[name].recognises
    ]


@pytest.mark.parametrize(
    "head", [b"", b"\0\1\2", b"{}", b"[1, 2]", b"<html></html>", b"MD5,Label\nx,y\n", b"a text\n" * 40, b"\xff\xfe"]
)
def test_what_is_of_no_format_is_told_as_none(head):
    assert detected_format(head) is None


def test_hash_text_may_be_cut_off_at_the_end_of_the_head():
    line = f"{MD5}\n".encode()
    assert detected_format((line * HEAD_SIZE)[:HEAD_SIZE]) is FORMATS["hash-text"]


@given(st.binary(max_size=200), st.sampled_from(sorted(SAMPLES)))
def test_no_bytes_raise_anything(noise, name):
    detected_format(noise)
    detected_format(noise + SAMPLES[name])
    detected_format(SAMPLES[name] + noise)
