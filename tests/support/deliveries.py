"""Small valid deliveries of every format, all of them made up."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import random
import sqlite3
import sys
import tempfile
import zipfile
from pathlib import Path

from hashmatch.formats.bundle import VERSION, BundleHeader, written
from hashmatch.formats.delivery import ParserOptions
from hashmatch.formats.ncmec import NAMESPACE
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.model.opinions import Statement

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MD5, SHA1, SHA256 = (hashlib.new(name, b"a benign file").hexdigest() for name in ("md5", "sha1", "sha256"))
PHOTODNA = base64.b64encode(random.Random(1).randbytes(144)).decode()

PROFILE = """
layout = "csv"
delimiter = ";"
key = ["id"]
label = ["label"]
updated_on = { column = "when", formats = ["%d/%m/%Y", "iso", "unix"] }
deleted = { column = "gone" }
hash = [{ column = "md5", algorithm = "md5" }, { column = "value", algorithm_column = "kind" }]
flag = [{ column = "known", word = "known" }, { column = "tags", separator = "," }]
"""


def deliveries(name: str) -> tuple[list[bytes], ParserOptions]:
    """Deliveries of the format `name` of which nothing is refused, and what the importer states of them."""
    if name == "columns":
        return [_COLUMNS.encode(), _COLUMNS.encode("utf-16")], ParserOptions(profile=PROFILE)
    made = _MADE[name]()
    return [each if isinstance(each, bytes) else each.encode() for each in made], ParserOptions(label="a label")


def contained(data: bytes) -> list[bytes]:
    """A delivery in every container."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("readme.txt", "nothing")
        file.writestr("list.txt", data)
    return [gzip.compress(data, mtime=0), zstd.compress(data), archive.getvalue()]


def _ncmec() -> list[str]:
    fingerprints = f"<fingerprints><md5>{MD5}</md5><sha1>{SHA1}</sha1><pdna>{PHOTODNA}</pdna></fingerprints>"
    said = (
        '<{0}><member id="42">An example</member><timestamp>2024-05-06T23:30:00Z</timestamp><id>e{1}</id>'
        "<classification>A1</classification>{2}</{0}>"
    )
    feedback = (
        '<feedback><negativeFeedback type="Md5"><members><member id="7"/></members></negativeFeedback></feedback>'
    )
    images = [
        said.format("image", 1, fingerprints),
        said.format("image", 2, fingerprints),
        said.format("deletedImage", 3, ""),
    ]
    page = '<?xml version="1.0"?><queryResult xmlns="{0}"><{1} count="{2}">{3}</{1}></queryResult>\n'
    return [
        page.format(NAMESPACE, "images", 3, "\n".join(images)),
        page.format(NAMESPACE, "videos", 1, said.format("video", 4, fingerprints + feedback))
        + page.format(NAMESPACE, "images", 0, ""),
    ]


def _vics() -> list[str]:
    media = {
        "MediaID": 1,
        "Category": 1,
        "MD5": MD5.upper(),
        "SHA1": SHA1,
        "PhotoDNA": PHOTODNA,
        "DateUpdated": "2024-05-06T23:30:00+02:00",
        "VictimIdentified": "true",
        "Series": "a series",
        "Tags": ["a", "b"],
        "AlternativeHashes": [{"HashName": "SHA1", "HashValue": SHA1}, {"HashName": "SHA256", "HashValue": SHA256}],
    }
    base = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/{}"
    case = {
        "CaseID": "c",
        "Notes": {"a": ["}", 1.5]},
        "Media": [media, media | {"DateUpdated": "/Date(1490000000000)/"}],
    }
    return [
        json.dumps({"@odata.context": base.format("2.0.xml/US/$metadata#Media"), "@odata.count": 1, "value": [media]}),
        json.dumps({"odata.metadata": base.format("1.3.xml#Cases"), "value": [case, case]}, indent=1),
    ]


def _nist_vics() -> list[str]:
    media = {"MediaID": 0, "Category": 8, "MD5": MD5, "SHA1": SHA1, "MediaFiles": [{"FileName": "a"}]}
    context = "http://github.com/ICMEC/ProjectVic/DataModels/1.2.xml#Media"
    return [json.dumps({"odata.metadata": context, "value": [media, media]})]


def _stopncii() -> list[str]:
    record = {
        "lastModtimestamp": 1735603200,
        "signalType": "ImagePDQ",
        "hashStatus": "Active",
        "hashValue": SHA256,
        "caseNumbers": {"a case": "Active"},
        "CSPFeedbacks": [{"source": "a platform", "feedbackValue": "Blocked", "tags": ["a tag"]}],
    }
    gone = {"lastModtimestamp": 1735603201, "signalType": "VideoMD5", "hashStatus": "Withdrawn", "hashValue": MD5}
    return [json.dumps({"count": 2, "hasMoreRecords": False, "hashRecords": [record, gone]}), json.dumps([record])]


def _tech_against_terrorism() -> list[str]:
    record = {"id": 17, "hash_digest": MD5, "algorithm": "MD5", "ideology": "x", "file_type": "mp4", "deleted": False}
    gone = {"id": 18, "hash_digest": "", "algorithm": "SHA256", "deleted": True, "updated_on": 1735603201.5}
    return [json.dumps({"count": 2, "next": None, "results": [record | {"updated_on": 1735603200.25}, gone]})]


def _threatexchange() -> list[str]:
    descriptor = {"id": "9", "owner": {"id": "4711"}, "status": "MALICIOUS", "tags": ["a-tag"]}
    reactions = {"reactions": [{"key": "DISAGREE_WITH_TAGS", "value": "4712,4713"}]}
    record = {
        "id": "1701",
        "indicator": MD5,
        "type": "HASH_MD5",
        "last_updated": 1735603200,
        "should_delete": False,
        "descriptors": {"data": [descriptor | reactions, descriptor | {"status": "NON_MALICIOUS"}]},
    }
    return [json.dumps({"data": [record, {"id": "2", "type": "HASH_MD5", "should_delete": True}]})]


def _icse() -> list[str]:
    header = (
        "MD5;SHA1;PhotoDNA;Image ID;Is distributed;Victim identified;Offender identified;Series name;"
        "Number of submissions;File Available;Media Type;Baseline"
    )
    return [f'{header}\r\n{MD5};{SHA1};{PHOTODNA};17;y;No;F;"a ""series""";3;TRUE;Image;yes\r\n']


def _nsrl_csv() -> list[str]:
    header = '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"'
    return [f'{header}\r\n"{SHA1.upper()}","{MD5.upper()}","0123ABCD","a, name",42,7,"362",""\r\n']


def _nsrl_sqlite() -> list[bytes]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rds.db"
        database = sqlite3.connect(path)
        database.execute("PRAGMA page_size = 512")
        database.execute("CREATE TABLE FILE (sha256, sha1, md5, crc32, file_name)")
        database.execute("INSERT INTO FILE VALUES (?, ?, ?, '', 'a name')", (SHA256, SHA1, MD5))
        database.commit()
        database.close()
        return [path.read_bytes()]


def _bundle() -> list[bytes]:
    header = BundleHeader(
        hashmatch_bundle=VERSION,
        definition=ListDefinition(list_id="a-list", body="a body", nature=ListNature.TEST, max_age=60.0),
        generation=7,
        as_of=1735689600.0,
    )
    fingerprints = [(Algorithm.MD5, bytes.fromhex(MD5), 1), (Algorithm.PDQ, bytes.fromhex(SHA256), 0)]
    said = [Statement(), Statement("A1", "ncmec", "US", ("a",), "2025-12-31")]
    return [b"".join(written(header, said, [("a key", fingerprints), ("", fingerprints)]))]


def _hash_text() -> list[str]:
    return [f'# a comment\n{MD5}  a name\r\n{SHA1}\nSHA256 (a name) = {SHA256}\n\\{MD5} *a\\nname\n"{SHA1}";x\n']


_COLUMNS = (
    f'id;label;md5;kind;value;when;gone;known;tags\n1;A;{MD5};sha1;{SHA1};31/12/2025;no;yes;"a, b"\n2;;;;;;yes;;\n'
)
_MADE = {
    "bundle": _bundle,
    "hash-text": _hash_text,
    "icse": _icse,
    "ncmec": _ncmec,
    "nist-vics": _nist_vics,
    "nsrl-csv": _nsrl_csv,
    "nsrl-sqlite": _nsrl_sqlite,
    "stopncii": _stopncii,
    "tech-against-terrorism": _tech_against_terrorism,
    "threatexchange": _threatexchange,
    "vics": _vics,
}
