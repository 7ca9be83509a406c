"""Lists: what an operator states about one before anything is published."""

from __future__ import annotations

import enum
import re

import msgspec

from hashmatch.model.algorithms import PDQ_MAXIMUM_DISTANCE
from hashmatch.model.errors import invalid_field
from hashmatch.model.videos import ASKED_SHARE, LISTED_SHARE

LIST_ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
# What could be a digest in a text that is kept in plain: the shortest one has 32 digits.
_DIGEST = re.compile(r"[0-9a-fA-F]{32}")
MAXIMUM_TEXT = 200
MAXIMUM_REASON = 1_000


class ListNature(enum.IntEnum):
    """What a list is about; the numbers are those of the contract.

    A list of the nature KNOWN_GOOD is a corpus of harmless files: deliveries to other lists are held against it, and no
    answer is ever given from it.
    """

    ILLEGAL = 1
    EXPLOITATIVE = 2
    SELF_REPORTED = 3
    TERRORIST = 4
    TEST = 5
    KNOWN_GOOD = 6

    @property
    def is_served(self) -> bool:
        """Whether answers are given from lists of this nature."""
        return self is not ListNature.KNOWN_GOOD

    @property
    def title(self) -> str:
        """The name that people write, for example known-good."""
        return self.name.lower().replace("_", "-")

    def takes(self, declared: ListNature) -> bool:
        """Whether a list of this nature may carry what its body says is of the nature `declared`.

        One of the nature TEST may carry anything: what it says is not taken for a finding.
        """
        return self in (declared, ListNature.TEST)


class ListDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator states about a list. `max_age` is in seconds; an older list gives no negatives.

    `maximum_distance` is that within which a PDQ code counts as near one of the list; None for the server's own limit.
    A video matches one of the list if at least `minimum_asked_share` of its frames are near that one's, and at least
    `minimum_listed_share` of that one's frames near its own.
    """

    list_id: str
    body: str
    nature: ListNature
    max_age: float
    title: str = ""
    scheme: str = ""
    jurisdiction: str = ""
    maximum_distance: int | None = None
    minimum_asked_share: float = ASKED_SHARE
    minimum_listed_share: float = LISTED_SHARE

    def validate(self) -> None:
        """Raise `HashmatchError` INVALID_FIELD for the first statement that is missing or out of range."""
        check_list_id(self.list_id)
        if not self.body:
            raise invalid_field("body", "name the authority that publishes the list")
        for field in ("body", "title", "scheme", "jurisdiction"):
            text = getattr(self, field)
            if len(text) > MAXIMUM_TEXT or not text.isprintable():
                raise invalid_field(field, f"at most {MAXIMUM_TEXT} printable characters")
        if not 1 <= self.max_age <= 10 * 366 * 86_400:
            raise invalid_field("max_age", "between one second and ten years; it must be stated")
        if self.maximum_distance is not None and not 0 <= self.maximum_distance <= PDQ_MAXIMUM_DISTANCE:
            raise invalid_field("maximum_distance", f"0 to {PDQ_MAXIMUM_DISTANCE}")
        if not 0 < self.minimum_asked_share <= 1:
            raise invalid_field("minimum_asked_share", "more than 0, at most 1")
        if not 0 <= self.minimum_listed_share <= 1:
            raise invalid_field("minimum_listed_share", "0 to 1")


def check_list_id(list_id: str) -> None:
    """Raise `HashmatchError` INVALID_FIELD unless `list_id` has the form of one."""
    if not LIST_ID_PATTERN.fullmatch(list_id):
        raise invalid_field("list_id", "1 to 63 characters of a-z 0-9 . _ -, starting with a letter or digit")


def check_reason(reason: str, *, required: bool = True) -> None:
    """Raise `HashmatchError` INVALID_FIELD unless `reason` can stand in the record."""
    if required and not reason.strip():
        raise invalid_field("reason", "say why; it goes into the record")
    if len(reason) > MAXIMUM_REASON:
        raise invalid_field("reason", f"at most {MAXIMUM_REASON} characters")
    if _DIGEST.search(reason):
        raise invalid_field("reason", "name no hash; the record is kept in plain text")
