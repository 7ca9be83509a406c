"""Values are read as an operator writes them, or refused; what is printed holds no hash."""

from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.admin.values import (
    approval_digest,
    at_least,
    instant,
    operator_name,
    seconds,
    span,
    span_text,
    without_hashes,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30d", timedelta(days=30)),
        ("2w", timedelta(days=14)),
        ("1d12h", timedelta(hours=36)),
        ("90m", timedelta(minutes=90)),
        ("1w2d3h4m5s", timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5)),
    ],
)
def test_a_span_is_numbers_and_units(text, value):
    assert span(text) == value


@pytest.mark.parametrize(
    "text", ["", "0d", "30", "d", "-1d", "12h1d", "1.5d", "1 d", "1y", "٣d", "36526d", "9" * 30 + "d"]
)
def test_another_span_is_refused(text):
    with pytest.raises(ArgumentTypeError, match="like 30d"):
        span(text)


@given(st.integers(1, 36_525 * 86_400).map(lambda number: timedelta(seconds=number)))
def test_a_span_is_read_as_it_is_written(value):
    assert span(span_text(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T00:30+01:00", datetime(2026, 1, 30, 23, 30, tzinfo=UTC)),
    ],
)
def test_a_date_is_its_first_moment_in_utc(text, value):
    assert instant(text) == value


@pytest.mark.parametrize("text", ["", "yesterday", "31.01.2026", "2026-13-01", "0001-01-01T00:00+14:00"])
def test_another_date_is_refused(text):
    with pytest.raises(ArgumentTypeError, match="2026-01-31"):
        instant(text)


@pytest.mark.parametrize("text", ["", "Alice", "two words", "a" * 64, "ä", "a\n"])
def test_a_name_that_the_server_would_not_take_is_refused(text):
    with pytest.raises(ArgumentTypeError):
        operator_name(text)


def test_an_approval_digest_is_32_bytes_in_hexadecimal():
    assert approval_digest("aB" * 32) == b"\xab" * 32
    for text in ("", "ab" * 31, "ab" * 33, "xy" * 32, " " + "ab" * 32):
        with pytest.raises(ArgumentTypeError, match="64 hexadecimal digits"):
            approval_digest(text)


@pytest.mark.parametrize("text", ["", "-1", "1.0", "1e3", "0", "9" * 19])
def test_a_number_is_whole_and_within_bounds(text):
    with pytest.raises(ArgumentTypeError):
        at_least(1, text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "86401", "soon"])
def test_a_timeout_is_a_time_that_ends(text):
    with pytest.raises(ArgumentTypeError):
        seconds(text)


@given(st.text(), st.integers(32, 200), st.text())
def test_no_run_of_digits_as_long_as_a_hash_is_left(before, length, after):
    assert "ab" * 16 not in without_hashes(before + ("ab" * length)[:length] + after)


def test_what_is_shorter_stays():
    assert without_hashes("staging 0123456789abcdef") == "staging 0123456789abcdef"
