"""The suite bites where answers and acts are to be provable: without a guard, what it guards against is seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hashmatch.service.answer_audit import AnswerAudit
from hashmatch.service.attesting import Attesting
from hashmatch.service.checkpointing import Checkpoints
from hashmatch.trust.audit import AuditRecord, Chain, decode_record
from tests.integration import test_proof as proof
from tests.integration.test_proof import Broken, Start, broken, key, start

__all__ = ["broken", "key", "start"]

Bug = Callable[[pytest.MonkeyPatch], None]
Check = Callable[..., None]


def give_answers_before_they_are_recorded(patch: pytest.MonkeyPatch) -> None:
    """A record is noted, and nobody waits for the disk."""

    async def record(audit: Any, **numbers: Any) -> None:
        audit._synced = False
        await proper(audit, **numbers)

    proper = AnswerAudit.record
    patch.setattr(AnswerAudit, "record", record)


def record_no_matches(patch: pytest.MonkeyPatch) -> None:
    """What is recorded is that nothing was found."""

    async def record(audit: Any, **numbers: Any) -> None:
        await proper(audit, **numbers | {"matches": 0})

    proper = AnswerAudit.record
    patch.setattr(AnswerAudit, "record", record)


def go_on_with_whatever_log_there_is(patch: pytest.MonkeyPatch) -> None:
    """Nobody holds the log against what was signed of it."""
    patch.setattr(Checkpoints, "check", lambda *_: None)


def believe_every_record(patch: pytest.MonkeyPatch) -> None:
    """Whether a record follows from the one before is not looked at."""

    def read(chain: Chain, line: bytes) -> AuditRecord:
        record = decode_record(line, chain.sequence + 1)
        chain._take(line)
        return record

    patch.setattr(Chain, "read", read)


def answer_without_the_receipt_that_is_wanted(patch: pytest.MonkeyPatch) -> None:
    """Who asks for a receipt gets an answer like all others."""
    patch.setattr(Attesting, "check", lambda *_, **_wanted: False)


CAUGHT_BY: dict[Bug, Check] = {
    give_answers_before_they_are_recorded: proof.test_synced_no_answer_is_given_that_is_not_recorded,
    record_no_matches: proof.test_every_answered_batch_is_recorded_with_numbers_and_without_hashes,
    go_on_with_whatever_log_there_is: proof.test_a_log_that_was_cut_is_not_gone_on_with,
    believe_every_record: proof.test_a_changed_record_is_found,
    answer_without_the_receipt_that_is_wanted: proof.test_who_asks_for_a_receipt_where_there_are_none_is_told,
}


@pytest.mark.parametrize("bug", CAUGHT_BY, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_caught(
    bug: Bug,
    start: Start,
    scratch: Path,
    key: str,
    broken: Broken,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bug(monkeypatch)
    given = {"start": start, "scratch": scratch, "key": key, "broken": broken, "capsys": capsys}
    check = CAUGHT_BY[bug]
    wanted = check.__code__.co_varnames[: check.__code__.co_argcount]
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(**{name: given[name] for name in wanted})
