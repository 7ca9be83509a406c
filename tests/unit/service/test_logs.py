"""The log: one form for all, and no hash in it."""

from __future__ import annotations

import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.service import logs

MD5 = "0123456789abcdef0123456789ABCDEF"
SHA256 = MD5 * 2


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    before = structlog.get_config()
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.configure(**before)


def written(write: Callable[[], Any], **settings: str) -> str:
    stream = io.StringIO()
    logs.configure(stream=stream, **settings)
    write()
    return stream.getvalue()


def line(**fields: Any) -> dict[str, Any]:
    return json.loads(written(lambda: logs.get_logger("test").info(logs.Event.RPC_HANDLED, **fields)))


def test_a_line_is_one_json_object() -> None:
    result = line(items=3, code="OK", duration_ms=1.5, ok=True, nothing=None)
    assert result.pop("timestamp").endswith("Z")
    assert result == {
        "event": "rpc-handled",
        "level": "info",
        "logger": "test",
        "items": 3,
        "code": "OK",
        "duration_ms": 1.5,
        "ok": True,
        "nothing": None,
    }


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    [
        MD5,
        f"no entry {MD5} in the list",
        bytes.fromhex(MD5),
        bytearray.fromhex(MD5),
        memoryview(bytes.fromhex(MD5)),
        int(MD5, 16),
        -int(MD5, 16),
        KeyError(bytes.fromhex(MD5)),
        ValueError(MD5),
        [MD5],
        {"a": {"b": (bytes.fromhex(MD5),)}},
        {MD5: 1},
        frozenset({MD5}),
        Path("/data") / SHA256,
        structlog.testing.CapturedCall("info", (bytes.fromhex(MD5),), {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_spelling_of_a_hash_is_written(value: Any, form: str) -> None:
    text = written(lambda: logs.get_logger("test").warning("event", value=value), format=form)
    assert text
    for spelling in (MD5, SHA256, str(int(MD5, 16)), repr(bytes.fromhex(MD5))[2:-1], str(list(bytes.fromhex(MD5)))):
        assert spelling.lower() not in text.lower()


@pytest.mark.parametrize("key", ["request_id", "staging_id", "trace_id", "segment"])
def test_our_own_ids_are_written(key: str) -> None:
    assert line(**{key: MD5})[key] == MD5
    assert line(other=MD5)["other"] == logs.REDACTED


def test_the_rest_of_a_text_stays() -> None:
    assert line(detail=f"list a: {SHA256} twice")["detail"] == "list a: [redacted] twice"


@given(st.text(alphabet="0123456789abcdefABCDEF", min_size=32, max_size=200), st.text(), st.text())
def test_no_run_of_hex_digits_survives(digits: str, before: str, after: str) -> None:
    event = logs.redact(None, "info", {"event": before + digits + after})
    assert digits not in event["event"]


def test_library_records_have_the_same_form_and_the_same_guard() -> None:
    result = json.loads(written(lambda: logging.getLogger("library").warning("digest %s", MD5)))
    assert result["event"] == "digest [redacted]"
    assert result["logger"] == "library"
    assert result["level"] == "warning"


def test_the_library_of_calls_writes_no_tracebacks() -> None:
    """It logs one for every call that its peer ends in the middle."""

    def fail() -> None:
        try:
            raise ValueError(MD5)
        except ValueError:
            logging.getLogger("grpc._cython.cygrpc").exception("a call broke off")

    result = json.loads(written(fail))
    assert (result["event"], result["error"]) == ("a call broke off", "ValueError")
    assert "exception" not in result


def test_a_traceback_is_written_without_the_data_in_it() -> None:
    def fail() -> None:
        try:
            {}[bytes.fromhex(MD5)]
        except KeyError:
            logs.get_logger("test").exception("failed")
            logging.getLogger("library").exception("failed too")

    text = written(fail)
    for text_line in text.splitlines():
        assert "KeyError: [redacted]" in json.loads(text_line)["exception"]


def test_warnings_are_lines_too() -> None:
    def warn() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(capture=False)
            logging.captureWarnings(capture=True)
            warnings.warn("careful", stacklevel=1)

    assert "careful" in json.loads(written(warn))["event"]


def test_less_severe_levels_are_not_written() -> None:
    def write() -> None:
        logs.get_logger("test").info("event")
        logging.getLogger("library").info("event")

    assert written(write, level="warning") == ""


def test_configuring_again_replaces_the_first() -> None:
    first = io.StringIO()
    logs.configure(stream=first)
    text = written(lambda: logging.getLogger("library").warning("once"))
    assert len(text.splitlines()) == 1
    assert first.getvalue() == ""


def test_a_log_that_cannot_be_written_stops_nobody():
    """As a file on a full disk, which takes lines again once there is room."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", buffering=1) as stream:
        os.close(reader)
        logs.configure(stream=stream)
        logs.get_logger("test").info("event")
        logging.getLogger("library").warning("event")
        # Whatever is left in the buffer is not for the one who closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        logs.get_logger("test").info("event")
