"""Client for hashmatch: ask whether hashes are on a vetted list of known files.

`HashmatchClient` and `AsyncHashmatchClient` ask a server; `hashmatch_client.hashing` computes the hashes of local
files; `hashmatch_client.testing` has a server for your tests; and the `hashmatch` command does it from a shell.

Names are loaded when they are first used, so that the command starts without waiting for gRPC.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hashmatch_client._answers import SavedAnswer
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
        ReceiptError,
        UnavailableError,
    )
    from hashmatch_client._feedback import DisputeReason, FeedbackOutcome, HitFeedback, Judgement
    from hashmatch_client._hashes import Algorithm, Hash, Item
    from hashmatch_client._options import Limits, Retry, Timeout, TLSOptions
    from hashmatch_client._receipts import ServerKey, VerifiedAnswer, verify_receipt
    from hashmatch_client._results import (
        Agreement,
        BulkAnswer,
        BulkHit,
        Cause,
        Classification,
        FeedbackCounts,
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
        VideoShares,
    )
    from hashmatch_client._sync import HashmatchClient
    from hashmatch_client._videos import VideoFrame

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
    "DisputeReason",
    "FeedbackCounts",
    "FeedbackOutcome",
    "FieldViolation",
    "Finding",
    "Generation",
    "Hash",
    "HashAnswer",
    "HashList",
    "HashmatchClient",
    "HashmatchClientError",
    "HitFeedback",
    "InvalidHashError",
    "InvalidRequestError",
    "Item",
    "ItemAnswer",
    "Judgement",
    "Limits",
    "ListFreshness",
    "ListNature",
    "MatchKind",
    "NotFoundError",
    "NotPermittedError",
    "Opinion",
    "OverloadedError",
    "ProtocolViolationError",
    "ReceiptError",
    "Retry",
    "SavedAnswer",
    "ServerKey",
    "SnapshotChange",
    "SnapshotInfo",
    "SnapshotUpdate",
    "TLSOptions",
    "Timeout",
    "UnavailableError",
    "UndeterminedRange",
    "UndeterminedReason",
    "Verdict",
    "VerifiedAnswer",
    "Vetting",
    "VideoFrame",
    "VideoShares",
    "verify_receipt",
]

_HOMES = (
    "_errors",
    "_answers",
    "_receipts",
    "_feedback",
    "_hashes",
    "_options",
    "_results",
    "_sync",
    "_async",
    "_videos",
)


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
