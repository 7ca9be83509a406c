"""A delivery on its way from a file to the server.

A call that breaks off can look to the server like one that ended. So a file is read twice, to state its SHA-256 before;
and whatever goes wrong while reading, the call is cancelled and the message that says the end is never sent.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from threading import Event
from typing import BinaryIO

from hashmatch_client import ProtocolViolationError
from hashmatch_client.cli.text import printable

from hashmatch.admin.connection import AdminClient, Staged
from hashmatch.admin.progress import Progress
from hashmatch.v1 import list_admin_service_pb2 as pb

# The contract allows 1 MiB. Half of it costs nothing measurable and lets the bar of a slow line move more often.
CHUNK_SIZE = 512 * 1024
_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where the bytes come from. `size` is None and `sha256` empty where they are known only at the end."""

    file: BinaryIO
    name: str
    size: int | None
    sha256: bytes

    def chunks(self) -> Iterator[bytes]:
        """The bytes in order, in parts that a message can carry."""
        while chunk := self.file.read(CHUNK_SIZE):
            yield chunk


@contextmanager
def open_delivery(source: str, shown: Progress) -> Iterator[Delivery]:
    """The delivery in a file, or on standard input for `-`."""
    if source == "-":
        # Unbuffered: the thread that reads may be left waiting for input when the process ends, and must hold no lock.
        with FileIO(0, closefd=False) as file:
            yield Delivery(file, "", None, b"")
        return
    path = Path(source)
    with FileIO(path) as file:
        status = os.fstat(file.fileno())
        name = printable(path.name)[:_LONGEST_NAME]
        if not stat.S_ISREG(status.st_mode):
            yield Delivery(file, name, None, b"")
            return
        shown.begin("reading", status.st_size)
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK_SIZE):
            digest.update(chunk)
            shown.advance(len(chunk))
        size = file.tell()
        file.seek(0)
        yield Delivery(file, name, size, digest.digest())


def send(client: AdminClient, header: pb.StageHeader, delivery: Delivery, shown: Progress) -> pb.Staging:
    """Sends the delivery and waits for the report on it."""
    header.file_name = delivery.name
    header.delivery_sha256 = delivery.sha256
    parts = _Parts(header, delivery, shown)
    call = client.stage(iter(parts))
    parts.started(call)
    response = call.result()
    if parts.failure is not None:
        raise parts.failure
    if response is None or not response.HasField("staging"):
        raise ProtocolViolationError("the server answered without a staging", call.request_id)
    staging = response.staging
    if parts.sha256 and staging.delivery_sha256 != parts.sha256:
        known = f" {staging.staging_id}" if staging.staging_id else ""
        raise ProtocolViolationError(
            f"the server's answer{known} is about another delivery; was the request id used before?", call.request_id
        )
    return staging


class _Parts:
    """The messages of a Stage call. They are drawn in a thread of gRPC's, which would log what they raise."""

    def __init__(self, header: pb.StageHeader, delivery: Delivery, shown: Progress) -> None:
        self._header = header
        self._delivery = delivery
        self._shown = shown
        self._call: Staged | None = None
        self._call_known = Event()
        self.failure: Exception | None = None
        self.sha256 = delivery.sha256
        """Empty as long as it is not known."""

    def started(self, call: Staged) -> None:
        """Tells which call to cancel when reading fails."""
        self._call = call
        self._call_known.set()

    def __iter__(self) -> Iterator[pb.StageRequest]:
        digest = hashlib.sha256()
        yield pb.StageRequest(header=self._header)
        try:
            self._shown.begin("sending", self._delivery.size)
            for chunk in self._delivery.chunks():
                digest.update(chunk)
                yield pb.StageRequest(chunk=chunk)
                self._shown.advance(len(chunk))
            self._shown.begin("vetting", None)
            self.sha256 = digest.digest()
            yield pb.StageRequest(end=pb.StageEnd())
        except Exception as error:  # noqa: BLE001 - raised again by `send`, in the caller's thread
            self.failure = error
            self._call_known.wait()
            if self._call is not None:
                self._call.cancel()
