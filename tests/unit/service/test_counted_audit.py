"""What could not be recorded is counted, and fails all the same."""

import pytest
from prometheus_client import Counter

from hashmatch.service.counted_audit import CountedAudit
from hashmatch.trust.audit import AuditError
from tests.support.memory import MemoryAudit


def test_failures_are_counted_and_raised():
    log, failures = MemoryAudit(), Counter("failures", "", registry=None)
    counted = CountedAudit(log, failures)
    counted.append("define-list", "ann", list_id="a")
    assert failures._value.get() == 0
    log.failing = True
    with pytest.raises(AuditError):
        counted.append("publish", "ann")
    assert failures._value.get() == 1
