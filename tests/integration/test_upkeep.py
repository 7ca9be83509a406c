"""What a running server does of its own accord, now and then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hashmatch.ingest.sweeping import LOOK_INTERVAL
from hashmatch.service import upkeep
from hashmatch.v1 import list_admin_service_pb2
from tests.integration.conftest import MakeServer
from tests.integration.serving import TIMEOUT, ShiftedClock
from tests.integration.waiting import eventually

DAY = 86_400.0
LISTED = bytes(range(32)).hex().encode() + b"\n"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upkeep at every turn rather than every tenth."""
    monkeypatch.setattr(upkeep, "_MAINTENANCE_INTERVAL", upkeep._RESTORE_INTERVAL)


def test_a_staging_that_nobody_publishes_is_discarded_on_the_record(make_server: MakeServer) -> None:
    clock = ShiftedClock()
    client = make_server(clock=clock, discard_stagings_days=2).start()
    client.define()
    staging = client.stage(LISTED)
    clock.advance(2 * DAY + 60)
    request = list_admin_service_pb2.GetStagingRequest(staging_id=staging.staging_id)

    def discarded() -> bool:
        found = client.administration.GetStaging(request, timeout=TIMEOUT).staging
        return found.state == list_admin_service_pb2.STAGING_STATE_DISCARDED

    eventually(discarded, "the staging is discarded")


def test_what_an_importer_left_unfinished_is_swept_from_the_archive(make_server: MakeServer, scratch: Path) -> None:
    clock = ShiftedClock()
    client = make_server(clock=clock).start()
    client.define()
    client.deliver(LISTED)
    kept = set((scratch / "data" / "archive").iterdir())
    assert kept
    left = scratch / "data" / "archive" / "0123456789abcdef.partial"
    left.write_bytes(b"half of it")
    os.utime(left, (0, 0))
    # The server may have looked just before.
    clock.advance(LOOK_INTERVAL)
    eventually(lambda: not left.exists(), "it is swept")
    assert kept <= set((scratch / "data" / "archive").iterdir())
