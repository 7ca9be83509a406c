"""Client for hashmatch: ask whether hashes are on a vetted list of known files.

`HashmatchClient` and `AsyncHashmatchClient` ask a server; `hashmatch_client.hashing` computes the hashes of local
files; `hashmatch_client.testing` has a server for your tests; and the `hashmatch` command does it from a shell.

Names are loaded when they are first used, so that the command starts without waiting for gRPC.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hashmatch_client._async import AsyncHashmatchClient
    from hashmatch_client._errors import (
        ApiError,
        BulkProgress,
        ConfigurationError,
        DeadlineExceededError,
        FieldViolation,
        HashmatchClientError,
        InvalidHashError,
        InvalidRequestError,
        NotFoundError,
        NotPermittedError,
        OverloadedError,
        ProtocolViolationError,
        UnavailableError,
    )
    from hashmatch_client._hashes import Algorithm, Hash, Item
    from hashmatch_client._options import Limits, Retry, Timeout, TLSOptions
    from hashmatch_client._results import (
        Agreement,
        BulkAnswer,
        BulkHit,
        Cause,
        Classification,
        Finding,
        Generation,
        HashAnswer,
        HashList,
        ItemAnswer,
        ListFreshness,
        ListNature,
        MatchKind,
        Opinion,
        SnapshotChange,
        SnapshotInfo,
        SnapshotUpdate,
        UndeterminedRange,
        UndeterminedReason,
        Verdict,
        Vetting,
    )
    from hashmatch_client._sync import HashmatchClient

__all__ = [
    "Agreement",
    "Algorithm",
    "ApiError",
    "AsyncHashmatchClient",
    "BulkAnswer",
    "BulkHit",
    "BulkProgress",
    "Cause",
    "Classification",
    "ConfigurationError",
    "DeadlineExceededError",
    "FieldViolation",
    "Finding",
    "Generation",
    "Hash",
    "HashAnswer",
    "HashList",
    "HashmatchClient",
    "HashmatchClientError",
    "InvalidHashError",
    "InvalidRequestError",
    "Item",
    "ItemAnswer",
    "Limits",
    "ListFreshness",
    "ListNature",
    "MatchKind",
    "NotFoundError",
    "NotPermittedError",
    "Opinion",
    "OverloadedError",
    "ProtocolViolationError",
    "Retry",
    "SnapshotChange",
    "SnapshotInfo",
    "SnapshotUpdate",
    "TLSOptions",
    "Timeout",
    "UnavailableError",
    "UndeterminedRange",
    "UndeterminedReason",
    "Verdict",
    "Vetting",
]

_HOMES = ("_errors", "_hashes", "_options", "_results", "_sync", "_async")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = importlib.import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                value = getattr(module, name)
                globals()[name] = value
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
