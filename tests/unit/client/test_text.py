"""Names of files come from anybody; they must not speak to the terminal or the spreadsheet."""

from datetime import UTC, datetime, timedelta

import pytest
from hashmatch_client.cli.text import age, cell, counted, moment, printable
from hypothesis import given
from hypothesis import strategies as st


@given(st.text())
def test_what_is_printed_is_printable(text):
    assert printable(text).isprintable()


@pytest.mark.parametrize("text", ["\x1b[31m", "a\nb", "\u202egpj.exe", "\udcff", "\u2028"])
def test_control_and_direction_characters_are_shown_as_escapes(text):
    assert printable(text) != text
    assert "\\" in printable(text)


def test_other_text_stays_as_it_is():
    assert printable("Übung 1 – 写真.jpg") == "Übung 1 – 写真.jpg"


@given(st.text())
def test_no_cell_is_a_formula(text):
    assert not cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(seconds=-3), "0 seconds"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(minutes=59, seconds=59), "59 minutes"),
        (timedelta(hours=23), "23 hours"),
        (timedelta(days=1, hours=23), "1 day"),
    ],
)
def test_an_age_is_rounded_down_in_its_largest_unit(span, words):
    assert age(span) == words


def test_numbers_and_moments():
    assert counted(2_000, "match", "matches") == "2,000 matches"
    assert moment(datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)) == "2026-01-02T03:04:05Z"
    assert moment(None) == ""
