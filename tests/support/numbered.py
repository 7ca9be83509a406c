"""Digests that have a number each, what a list says of them, and why an act was refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from hashmatch.model.algorithms import Algorithm
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.verdicts import Verdict
from tests.support.office import Office


def digests(*numbers: int) -> list[bytes]:
    return [hashlib.md5(b"%d" % number, usedforsecurity=False).digest() for number in numbers]


def listed(office: Office, *numbers: int) -> list[bool]:
    answer = office.ask(Algorithm.MD5, digests(*numbers))
    found = {
        position
        for position, number in zip(answer.positions.tolist(), answer.finding_numbers.tolist(), strict=True)
        if answer.findings[number].verdict is Verdict.MATCH
    }
    return [position in found for position in range(len(numbers))]


def reason_of(act: Callable[[], object]) -> ErrorReason:
    with pytest.raises(HashmatchError) as caught:
        act()
    return caught.value.reason
