"""What is stated with a question, where no policy says what may be."""

from __future__ import annotations

import hashlib

import pytest

from hashmatch.matching.scope import Scope
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service.permissions import narrowed

DIGESTS = [hashlib.new(name, b"a test", usedforsecurity=False).hexdigest() for name in ("md5", "sha1", "sha256")]


@pytest.mark.parametrize(
    "purpose", [*DIGESTS, f"re-{DIGESTS[0]}", f"{DIGESTS[0]}-scan", "x" * 64, "Upload", "up load", "\n", "upload\n"]
)
def test_no_purpose_carries_a_digest_into_the_log_of_answers(purpose: str) -> None:
    with pytest.raises(HashmatchError, match="no digest") as caught:
        narrowed(Scope(), purpose, None)
    assert caught.value.reason is ErrorReason.INVALID_FIELD
    assert caught.value.fields.keys() == {"scope.purpose"}
    assert purpose not in str(caught.value)


@pytest.mark.parametrize("purpose", ["", "upload", "re-scan_2.1", "x" * 63])
def test_what_is_a_purpose_is_taken(purpose: str) -> None:
    assert narrowed(Scope(), purpose, None) == Scope()
