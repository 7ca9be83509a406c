"""Pages: every call that lists something hands it out in pages, from its first day (AIP-158)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from hashmatch.model.errors import invalid_field

DEFAULT_PAGE_SIZE = 100
MAXIMUM_PAGE_SIZE = 1_000
_MAXIMUM_TOKEN = 128

T = TypeVar("T")


class Page(NamedTuple):
    """Where a page begins: behind the item whose key is `after`, and how many items it may have."""

    after: str
    size: int

    @classmethod
    def asked(cls, page_size: int, page_token: str) -> Page:
        """The page that a request asks for. Raises `HashmatchError` INVALID_FIELD."""
        if page_size < 0:
            raise invalid_field("page_size", "must not be negative")
        if len(page_token) > _MAXIMUM_TOKEN or not page_token.isascii():
            raise invalid_field("page_token", "is not one that this service gave out")
        return cls(page_token, min(page_size or DEFAULT_PAGE_SIZE, MAXIMUM_PAGE_SIZE))

    def cut(self, items: Sequence[T], key: Callable[[T], str]) -> tuple[Sequence[T], str]:
        """The items of the page, and the token of the next page, empty on the last.

        A token is the key of the page's last item, and keys ascend with `items`: items that come or go in between
        neither repeat others nor hide them.
        """
        start = next((index for index, item in enumerate(items) if key(item) > self.after), len(items))
        page = items[start : start + self.size]
        more = start + self.size < len(items)
        return page, key(page[-1]) if more else ""
