"""The log: one event a line on standard error, from our code and from libraries alike, and never a hash in it.

Our code logs through structlog, libraries through the standard library's `logging`; both go through the same chain, so
that every line has the same form and passes the same guard. `redact` is the last guard of the promise that no hash is
ever written: nobody should log one, and if somebody does it is replaced. It cannot know every spelling of a digest, so
it is no licence to log data.

Nothing here happens at import; `configure` is called once, by the composition root.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, TextIO, cast

import msgspec
import structlog
from structlog.typing import FilteringBoundLogger, WrappedLogger

EventDict = MutableMapping[str, Any]

REDACTED = "[redacted]"

# These values are ours, are not derived from content, and are long enough to look like a digest.
_ALLOWED = frozenset({"request_id", "staging_id", "trace_id", "segment", "method"})
_SHORTEST_DIGEST = 32
_HEX_RUN = re.compile(rf"[0-9a-fA-F]{{{_SHORTEST_DIGEST},}}")
# A bytes object inside a message, as its repr: KeyError(b'\x12...') would carry a digest into a traceback.
_BYTES_LITERAL = re.compile(r"""\bb(?:'(?:[^'\\\n]|\\.){8,}'|"(?:[^"\\\n]|\\.){8,}")""")
# A digest read as a number. Counts, sizes and times are smaller.
_LARGEST_NUMBER = 1 << 63


class Event(enum.StrEnum):
    """What is logged, by name: a name is searched for and alerted on, so it is never built from data."""

    RPC_HANDLED = "rpc-handled"
    RPC_FAILED = "rpc-failed"
    HEALTH_CHANGED = "health-changed"
    SERVER_STARTED = "server-started"
    SERVER_STOPPED = "server-stopped"
    TASK_DIED = "task-died"
    PROCESS_STARTED = "process-started"
    LINK_FAILED = "link-failed"
    PROCESS_ENDED = "process-ended"
    SNAPSHOT_LOADED = "snapshot-loaded"
    STORE_STATE = "store-state"
    STORE_RIGHTS = "store-rights"
    DELIVERY_STAGED = "delivery-staged"
    IMPORTER_FAILED = "importer-failed"
    FEED_ROUND = "feed-round"
    FEED_FAILED = "feed-failed"
    MAINTENANCE_DONE = "maintenance-done"
    MAINTENANCE_FAILED = "maintenance-failed"
    POLICY_RELAXED = "policy-relaxed"
    COUNTS_NOT_KEPT = "counts-not-kept"
    BUDGET_EXHAUSTED = "budget-exhausted"
    MATCH_FLOOD = "match-flood"
    BUDGETS_UNSETTLED = "budgets-unsettled"
    ANSWERS_NOT_RECORDED = "answers-not-recorded"
    CHECKPOINT_NOT_SIGNED = "checkpoint-not-signed"
    SIGNING_BEGUN = "signing-begun"
    NOBODY_ENROLLED = "nobody-enrolled"
    NOBODY_AUTHENTICATED = "nobody-authenticated"
    CERTIFICATES_LOADED = "certificates-loaded"
    CERTIFICATES_REFUSED = "certificates-refused"


def configure(
    *,
    level: str = "info",
    format: str = "json",  # noqa: A002
    stream: TextIO | None = None,
    process: str = "",
) -> None:
    """Send structlog, `logging` and warnings to `stream` (standard error by default) in one form.

    `level` and `format` are those of the section `logs`; `process` stands in every line if it is given. A second call
    replaces the first.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    output = cast("TextIO", _Unfailing(sys.stderr if stream is None else stream))
    factory = structlog.WriteLoggerFactory(file=output)
    chain: list[Callable[[WrappedLogger, str, EventDict], Any]] = [
        structlog.processors.add_log_level,
        *([_named(process)] if process else []),
        structlog.processors.format_exc_info,
        redact,
        _timestamp,
        _json if format == "json" else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0),
    ]
    structlog.configure(
        processors=chain,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=factory,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _StandardLibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_StandardLibraryHandler(factory(), chain))
    root.setLevel(number)
    logging.captureWarnings(capture=True)
    # It tells every URL with its query, where bodies have their cursors.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger for the part of the program called `name`. Call it after `configure`, when composing."""
    logger: FilteringBoundLogger = structlog.get_logger().bind(logger=name)
    return logger


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:  # noqa: ARG001
    """A processor that leaves nothing in `event` that could be a digest."""
    for key, value in event.items():
        # A line is written for every call, so the common cases, short texts and small numbers, are decided at once.
        kind = type(value)
        if kind is str or kind is Event:
            if len(value) >= _SHORTEST_DIGEST and key not in _ALLOWED:
                event[key] = _redact_text(value)
        elif kind is int:
            if not -_LARGEST_NUMBER <= value < _LARGEST_NUMBER:
                event[key] = REDACTED
        elif kind is not float:
            event[key] = _redact_value(value)
    return event


def redact_field(key: str, text: str) -> str:
    """`text` without anything that could be a digest, unless a field of the name `key` may hold one of our own ids."""
    return text if key in _ALLOWED else _redact_text(text)


def _redact_text(text: str) -> str:
    text = _HEX_RUN.sub(REDACTED, text)
    return _BYTES_LITERAL.sub(REDACTED, text) if "b'" in text or 'b"' in text else text


def _redact_value(value: Any) -> Any:
    match value:
        case str() | PurePath():
            return _redact_text(str(value))
        case None | bool() | float():
            return value
        case int():
            return int(value) if -_LARGEST_NUMBER <= value < _LARGEST_NUMBER else REDACTED
        case bytes() | bytearray() | memoryview():
            return REDACTED
        case Mapping():
            return {_redact_text(str(key)): _redact_value(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redact_value(item) for item in value]
        case BaseException():
            return _redact_text(f"{type(value).__name__}: {value}")
    # The repr of an array or of one of our records may well hold digests in some other spelling.
    return f"<{type(value).__name__}>"


class _Unfailing:
    """A stream whose lines are lost where they cannot be written: on a disk that is full, or to a reader that has gone.

    Whoever logs goes on. What it tells of must not fail because of the telling.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def _named(process: str) -> Callable[[WrappedLogger, str, EventDict], EventDict]:
    def name(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:  # noqa: ARG001
        event["process"] = process
        return event

    return name


def _timestamp(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:  # noqa: ARG001
    event["timestamp"] = datetime.now(UTC)
    return event


def _json(logger: WrappedLogger, method: str, event: EventDict) -> str:  # noqa: ARG001
    return msgspec.json.encode(event).decode()


# gRPC logs a traceback for every call that its peer ends in the middle.
_LIBRARY = "grpc"


class _StandardLibraryHandler(logging.Handler):
    """Sends the records of `logging` through the chain of structlog."""

    def __init__(self, output: Any, chain: list[Callable[[WrappedLogger, str, EventDict], Any]]) -> None:
        super().__init__()
        self._output = output
        self._chain = chain

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = record.levelname.lower()
            line: Any = {"event": record.getMessage(), "logger": record.name}
            if record.name.split(".")[0] == _LIBRARY and record.exc_info:
                # Where a call broke off inside of it helps nobody; what became of the call, its own line tells.
                line["error"] = getattr(record.exc_info[0], "__name__", "")
            else:
                line["exc_info"] = record.exc_info
            for process in self._chain:
                line = process(self._output, level, line)
            self._output.msg(line)
        except Exception:  # noqa: BLE001  the library's own rule: logging never raises
            self.handleError(record)
