"""What reading bytes that somebody else may have written can raise, besides what says that they are not there."""

from __future__ import annotations

import msgspec

UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What `msgspec` raises for bytes that are not what they should be, to be caught by each reader of a file, a pipe or
the store: text that is no UTF-8, and values in values without end, are no errors of its own."""
