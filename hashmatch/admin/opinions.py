"""`hashmatch-admin opinion`: an analyst's opinion on hashes becomes part of their own list once others agreed.

It is a small incremental delivery, staged as any other: what ICCAM calls the classification (baseline, nationally
illegal, not illegal) is one entry for each hash, and the scheme's own label, where there is one, another. Their keys
follow from the hash, so that a later opinion on it takes the place of the earlier one, and withdrawing finds it.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
from argparse import Namespace
from collections.abc import Iterator, Sequence

from hashmatch_client import ConfigurationError
from hashmatch_client.cli.text import counted

from hashmatch.admin.connection import connect
from hashmatch.admin.delivery import Delivery, send
from hashmatch.admin.documents import Document, staging_document
from hashmatch.admin.entries import hashes_in_file
from hashmatch.admin.exits import Exit
from hashmatch.admin.output import print_result
from hashmatch.admin.progress import progress
from hashmatch.admin.report import next_steps
from hashmatch.v1 import common_pb2
from hashmatch.v1 import list_admin_service_pb2 as pb

_SCHEME = "iccam"
_LONGEST_NAME = 256
_KEY_DIGITS = 24
_COLUMNS = {
    common_pb2.ALGORITHM_MD5: "md5",
    common_pb2.ALGORITHM_SHA1: "sha1",
    common_pb2.ALGORITHM_SHA256: "sha256",
    common_pb2.ALGORITHM_SHA512: "sha512",
    common_pb2.ALGORITHM_PDQ: "pdq",
}
_PROFILE = """
layout = "jsonl"
key = ["key"]
label = ["label"]
scheme = "scheme"
jurisdiction = "jurisdiction"
updated_on = { column = "updated_on" }
deleted = { column = "deleted" }
[[flag]]
column = "disputed"
word = "disputed"
""" + "".join(f'[[hash]]\ncolumn = "{name}"\nalgorithm = "{name}"\n' for name in _COLUMNS.values())


def contribute(arguments: Namespace) -> Exit:
    """`opinion contribute`."""
    label, jurisdiction = arguments.opinion
    return _stage(arguments, "Contributed", label, jurisdiction)


def dispute(arguments: Namespace) -> Exit:
    """`opinion dispute`."""
    return _stage(arguments, "Disputed", "not illegal", "", disputed=True)


def withdraw(arguments: Namespace) -> Exit:
    """`opinion withdraw`."""
    hashes = hashes_in_file(arguments.hashes_file)
    records = [{"key": key, "deleted": True} for each in hashes for key in _keys(each)]
    return _send(arguments, "Withdrawn", hashes, records)


def _stage(arguments: Namespace, done: str, label: str, jurisdiction: str, *, disputed: bool = False) -> Exit:
    if bool(arguments.label) != bool(arguments.scheme):
        raise ConfigurationError("--label and --scheme go together: a label means something in its own scheme alone")
    hashes = hashes_in_file(arguments.hashes_file)
    return _send(arguments, done, hashes, list(_records(arguments, hashes, label, jurisdiction, disputed)))


def _records(
    arguments: Namespace, hashes: Sequence[common_pb2.Hash], label: str, jurisdiction: str, disputed: bool
) -> Iterator[Document]:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    for each in hashes:
        column = _COLUMNS.get(each.algorithm)
        if column is None:
            raise ConfigurationError(f"opinions are on {', '.join(_COLUMNS.values())}")
        plain, labelled = _keys(each)
        common = {
            "jurisdiction": jurisdiction,
            "updated_on": today,
            "disputed": disputed,
            "deleted": False,
            column: each.value.hex(),
        }
        yield {"key": plain, "label": label, "scheme": _SCHEME} | common
        if arguments.label:
            yield {"key": labelled, "label": arguments.label, "scheme": arguments.scheme} | common
        else:
            # Of an earlier opinion that had one.
            yield {"key": labelled, "deleted": True}


def _keys(each: common_pb2.Hash) -> tuple[str, str]:
    """The keys of the two entries. They are no hash of a file, and too short to be taken for one."""
    content = b"hashmatch opinion v1" + bytes([each.algorithm]) + each.value
    name = hashlib.sha256(content).hexdigest()[:_KEY_DIGITS]
    return f"opinion/{name}", f"opinion/{name}/label"


def _send(arguments: Namespace, done: str, hashes: Sequence[common_pb2.Hash], records: Sequence[Document]) -> Exit:
    content = "".join(json.dumps(record) + "\n" for record in records).encode()
    header = pb.StageHeader(
        list_id=arguments.list_id,
        format="columns",
        mode=pb.DELIVERY_MODE_INCREMENTAL,
        profile=_PROFILE,
        declared_records=len(records),
        validate_only=arguments.dry_run,
    )
    # What people read above the report.
    name = f"opinion: {arguments.reason}"[:_LONGEST_NAME]
    delivery = Delivery(io.BytesIO(content), name, len(content), hashlib.sha256(content).digest())
    with connect(arguments) as client, progress(show=False, no_color=arguments.no_color) as shown:
        staging = send(client, header, delivery, shown)
    what = f"{counted(len(hashes), 'hash', 'hashes')} of {arguments.list_id}"
    prefix = "Would stage, nothing was written" if arguments.dry_run else "Staged"
    sentence = f"{prefix}: {done.lower()} {what}. It is part of the list once others agreed."
    print_result(arguments, staging_document(staging), sentence, *next_steps(staging))
    return Exit.DONE
