"""Settling feedback is done to its end, whoever still waits for it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from hashmatch.service.acting import Acting
from hashmatch.service.calls import Call, enter_call
from hashmatch.service.feedback_servicer import FeedbackAdminServicer
from hashmatch.service.identity import Caller
from hashmatch.service.metrics import Metrics
from hashmatch.v1 import feedback_admin_service_pb2


class SlowAudit:
    """A disk that takes its time."""

    def __init__(self) -> None:
        self.asked, self.goes_on = threading.Event(), threading.Event()
        self.recorded: list[tuple[str, str, dict[str, Any]]] = []

    def append(self, act: str, actor: str, **details: str | int | float | bool) -> None:
        self.asked.set()
        assert self.goes_on.wait(30.0)
        self.recorded.append((act, actor, details))


class Desk:
    """Feedback of which one piece is known."""

    def __init__(self) -> None:
        self.known = {"a": object()}
        self.settled = asyncio.Event()

    async def look(self) -> None:
        return None

    async def forget(self, feedback_ids: set[str]) -> int:
        for each in feedback_ids:
            del self.known[each]
        self.settled.set()
        return len(feedback_ids)


async def test_what_is_on_the_record_as_settled_is_settled_though_the_caller_went_away(metrics: Metrics) -> None:
    desk, audit = Desk(), SlowAudit()
    servicer = FeedbackAdminServicer(desk, audit, Acting(metrics, lambda: None, lambda _: None))  # type: ignore[arg-type]
    request = feedback_admin_service_pb2.SettleFeedbackRequest(feedback_ids=["a", "b"], reason="a test")

    async def call() -> None:
        enter_call(Call("a request", 0.0, caller=Caller("ann", authenticated=True)))
        await servicer.SettleFeedback(request, None)  # type: ignore[arg-type]

    calling = asyncio.create_task(call())
    await asyncio.to_thread(audit.asked.wait, 30.0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    audit.goes_on.set()
    await asyncio.wait_for(desk.settled.wait(), 30.0)
    assert audit.recorded == [("settle-feedback", "ann", {"feedback": 1, "reason": "a test"})]
    assert not desk.known
