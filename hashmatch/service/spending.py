"""What a batch of items takes out of a client's budget."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

from hashmatch.matching.findings import ItemAnswer
from hashmatch.matching.items import AskedHash
from hashmatch.model.access import Client
from hashmatch.model.algorithms import SERVED_ALGORITHMS, Algorithm
from hashmatch.model.verdicts import Verdict
from hashmatch.model.videos import usable_frames
from hashmatch.service.budgets import Budgets

_SERVED = {int(algorithm): algorithm for algorithm in SERVED_ALGORITHMS}


async def admit_items(budgets: Budgets, client: Client, items: Sequence[Sequence[AskedHash]]) -> None:
    """Take what items ask for out of the client's budget. Raises `HashmatchError` BUDGET_EXHAUSTED."""
    if client.budget.is_unlimited:
        return
    probing = client.budget.near_duplicates is not None
    await budgets.admit(client, _packed(items), _frame_of_each_video(items) if probing else b"")


def outcome_of(answers: Iterable[ItemAnswer]) -> tuple[int, int]:
    """How many hashes matched, and how many were not determined."""
    verdicts = [finding.verdict for answer in answers for finding in answer.findings]
    return verdicts.count(Verdict.MATCH), verdicts.count(Verdict.NOT_DETERMINED)


def _packed(items: Iterable[Iterable[AskedHash]]) -> dict[Algorithm, bytes]:
    """The well-formed values that items ask about, by algorithm."""
    values: dict[Algorithm, list[bytes]] = {}
    for item in items:
        for asked in item:
            algorithm = _SERVED.get(asked.algorithm)
            if algorithm is not None:
                stated = (asked.value, *asked.alternates, *(frame.code for frame in asked.frames))
                fit = (value for value in stated if len(value) == algorithm.digest_size)
                values.setdefault(algorithm, []).extend(fit)
    return {algorithm: b"".join(found) for algorithm, found in values.items() if found}


def _frame_of_each_video(items: Iterable[Iterable[AskedHash]]) -> bytes:
    """Of each video one of its frames that count, such as nobody can foretell, so that none can be put there for it."""
    size = Algorithm.VPDQ.digest_size
    videos = (asked.frames for item in items for asked in item if asked.frames)
    usable = (usable_frames(frame for frame in frames if len(frame.code) == size) for frames in videos)
    return b"".join(secrets.choice(codes) for codes in usable if codes)
