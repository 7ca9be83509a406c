"""What goes wrong below an act of administration, in words that a caller can be told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.store.archive import ArchiveError
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.segments import StoreDamagedError
from hashmatch.trust.audit import AuditError


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Turn what goes wrong below into what a caller can be told."""
    try:
        yield
    except StoreUnavailableError as error:
        raise HashmatchError(ErrorReason.STORE_UNAVAILABLE, str(error), retry_after=1.0) from error
    except StoreDamagedError as error:
        raise HashmatchError(ErrorReason.STORE_DAMAGED, str(error)) from error
    except ArchiveError as error:
        raise HashmatchError(ErrorReason.STORE_UNAVAILABLE, str(error)) from error
    except AuditError as error:
        raise HashmatchError(ErrorReason.INTERNAL, "the act cannot be recorded, so it was not done") from error
