"""What is told of a process that reads a delivery and fails: the log knows, and the caller only that it failed."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from hashmatch.ingest import worker
from hashmatch.ingest.staging import DeliveryHeader
from hashmatch.ingest.worker import StagingOutcome, StagingTask, StoreAccess, frame, read_frame
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.vetting import DeliveryMode, VettingPolicy
from hashmatch.service import importer
from hashmatch.service.importer import SMALL_DELIVERY_BYTES, Importer
from hashmatch.service.logs import redact
from hashmatch.trust.sealing import KEY_SIZE, SealingSecrets

DIGEST = hashlib.sha256(b"a test").hexdigest()
HEADER = DeliveryHeader(list_id="list", format="hash-text", mode=DeliveryMode.FULL, staged_by="ann")
POLICY = VettingPolicy()


@pytest.fixture
def access() -> StoreAccess:
    """Of a store that nobody asks for anything."""
    return StoreAccess(
        url="redis://127.0.0.1:1",
        namespace="test",
        sealing=SealingSecrets(current=bytes(KEY_SIZE)),
        connect_timeout=1.0,
        operation_timeout=1.0,
    )


class NothingToSay:
    """A stager that finds nothing wrong beforehand."""

    def check(self, _header: DeliveryHeader) -> None:
        return None


async def delivery() -> AsyncIterator[bytes]:
    """More than is read in the server's own process."""
    yield b"x" * (SMALL_DELIVERY_BYTES + 1)


async def failing(program: str, logger: Any, access: StoreAccess, patch: pytest.MonkeyPatch) -> None:
    """Stage with a process that runs `program` instead of ours."""
    proper = subprocess.Popen
    patch.setattr(
        importer,
        "subprocess",
        SimpleNamespace(
            Popen=lambda _, **pipes: proper([sys.executable, "-c", program], **pipes), PIPE=subprocess.PIPE
        ),
    )
    made = Importer(NothingToSay(), access, POLICY, logger, maximum_bytes=1 << 30)  # type: ignore[arg-type]
    with pytest.raises(HashmatchError) as caught:
        await made.stage(HEADER, delivery())
    assert caught.value.reason is ErrorReason.INTERNAL
    assert str(caught.value) == "the importer failed; the log has more"


async def test_a_process_that_is_ended_is_in_the_log(
    logger: Any, lines: list[dict[str, Any]], access: StoreAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    await failing("import os; os.kill(os.getpid(), 9)", logger, access, monkeypatch)
    assert lines == [{"event": "importer-failed", "log_level": "error", "list_id": "list", "status": -9}]


async def test_a_defect_of_it_is_in_the_log_without_what_it_quotes(
    logger: Any, lines: list[dict[str, Any]], access: StoreAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = frame(msgspec.msgpack.encode(StagingOutcome(defect=f"ValueError: invalid literal: '{DIGEST}'")))
    program = f"import sys; sys.stdout.buffer.write({outcome!r})"
    await failing(program, logger, access, monkeypatch)
    (line,) = lines
    told = str(redact(None, "", line))
    assert "ValueError: invalid literal" in told
    assert DIGEST not in told


def test_it_tells_its_server_of_a_defect_and_nobody_else(
    access: StoreAccess, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def stage(_task: object, chunks: Iterator[bytes], _checkpoint: object) -> StagingOutcome:
        raise ValueError(f"invalid literal: {next(chunks)!r}")

    task = msgspec.msgpack.encode(StagingTask(access=access, policy=POLICY, header=HEADER))
    said = io.BytesIO()
    monkeypatch.setattr(worker, "stage", stage)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(frame(task) + frame(DIGEST.encode()))))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=said))
    monkeypatch.setattr(worker, "keep_out_of_dumps", lambda: None)
    worker.main()
    said.seek(0)
    outcome = msgspec.msgpack.decode(read_frame(said), type=StagingOutcome)
    assert (outcome.staging, outcome.failure) == (None, None)
    assert "ValueError: invalid literal" in outcome.defect
    assert capfd.readouterr() == ("", "")
