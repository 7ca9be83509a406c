"""Column profiles: what an operator states about the layout of a body's table, as TOML.

`docs/formats.md` describes every key. A key that is not known here is an error, not a default.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from hashmatch.formats._values import Form
from hashmatch.formats.delivery import DeliveryError
from hashmatch.model.algorithms import Algorithm, algorithm_named
from hashmatch.model.errors import ErrorReason
from hashmatch.model.lists import MAXIMUM_TEXT
from hashmatch.model.prepared import prepared

MAXIMUM_PROFILE = 65_536

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAXIMUM_TEXT)]
_Number = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
_Few = msgspec.Meta(max_length=64)

# A column: its name in the header, or its number from 1; in JSON lines the path of a key, for example `hash.md5`.
ColumnReference = _Name | _Number


class HashColumn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A column of hashes, all of one `algorithm` or of the one that `algorithm_column` names in each record.

    `names` maps a body's own names of algorithms to usual ones.
    """

    column: ColumnReference
    algorithm: str = ""
    algorithm_column: ColumnReference | None = None
    names: dict[str, str] = {}
    form: Form = "auto"

    def __post_init__(self) -> None:
        if bool(self.algorithm) == (self.algorithm_column is not None):
            raise ValueError("state either algorithm or algorithm_column")
        if self.algorithm and self.names:
            raise ValueError("names belongs to algorithm_column")
        for name in (self.algorithm, *self.names.values()):
            try:
                if name:
                    algorithm_named(name)
            except KeyError:
                raise ValueError("there is no such algorithm") from None

    @property
    def fixed_algorithm(self) -> Algorithm | None:
        """The algorithm of all values, or None if each record names its own."""
        return algorithm_named(self.algorithm) if self.algorithm else None

    @property
    def algorithms_by_name(self) -> dict[str, Algorithm]:
        """The body's own names, case-folded."""
        return {name.casefold(): algorithm_named(usual) for name, usual in self.names.items()}


class FlagColumn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Flags of a record: `word` where the column says yes, or the words that it lists between `separator`s."""

    column: ColumnReference
    word: Annotated[str, msgspec.Meta(max_length=MAXIMUM_TEXT)] = ""
    separator: str = ""

    def __post_init__(self) -> None:
        if bool(self.word) == bool(self.separator):
            raise ValueError("state either word or separator")


class DeletedColumn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which records remove an entry: those that have one of `values`, in any case; without any, those that say yes."""

    column: ColumnReference
    values: Annotated[tuple[_Name, ...], _Few] = ()


class DateColumn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A column of dates. `formats` are tried in order: those of `strptime`, or the words iso and unix."""

    column: ColumnReference
    formats: Annotated[tuple[_Name, ...], msgspec.Meta(min_length=1, max_length=16)] = ("iso",)

    def __post_init__(self) -> None:
        sample = datetime(2001, 2, 3)  # noqa: DTZ001
        for each in self.formats:
            if each not in ("iso", "unix"):
                try:
                    complete = datetime.strptime(sample.strftime(each), each).date() == sample.date()  # noqa: DTZ007
                except (ValueError, re.error):
                    complete = False
                if not complete:
                    raise ValueError("a date format needs the year, the month and the day")


@prepared
class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The layout of a table and what its columns mean."""

    layout: Literal["csv", "tsv", "jsonl"]
    hashes: Annotated[tuple[HashColumn, ...], msgspec.Meta(min_length=1, max_length=64)] = msgspec.field(name="hash")
    encoding: Literal["utf-8", "utf-16", "latin-1"] = "utf-8"
    delimiter: str | None = None
    quote: str | None = None
    header: bool = True
    short_rows: Literal["quarantine", "blank"] = "quarantine"
    label: Annotated[tuple[ColumnReference, ...], _Few] = ()
    label_separator: Annotated[str, msgspec.Meta(max_length=16)] = "/"
    scheme: ColumnReference | None = None
    jurisdiction: ColumnReference | None = None
    key: Annotated[tuple[ColumnReference, ...], _Few] = ()
    updated_on: DateColumn | None = None
    deleted: DeletedColumn | None = None
    flags: Annotated[tuple[FlagColumn, ...], _Few] = msgspec.field(name="flag", default=())

    def __post_init__(self) -> None:
        if self.layout == "jsonl":
            if self.delimiter is not None or self.quote is not None or not self.header or self.short_rows == "blank":
                raise ValueError("delimiter, quote, header and short_rows do not belong to jsonl")
            if not all(isinstance(column, str) for column in self.columns):
                raise ValueError("columns of jsonl are the paths of keys")
            return
        if self.layout == "tsv" and self.delimiter is not None:
            raise ValueError("delimiter does not belong to tsv")
        if not self.header and not all(isinstance(column, int) for column in self.columns):
            raise ValueError("without a header, columns are numbers from 1")
        marks = (self.separator, *([self.quotation] if self.quotation else []))
        if not all(len(mark) == 1 and mark.isascii() and mark not in "\r\n\0" for mark in marks):
            raise ValueError("delimiter and quote are one ASCII character each; quote may be empty")
        if len(set(marks)) < len(marks):
            raise ValueError("delimiter and quote must differ")

    @property
    def separator(self) -> str:
        """The character between the fields of a row."""
        return "\t" if self.layout == "tsv" else "," if self.delimiter is None else self.delimiter

    @property
    def quotation(self) -> str:
        """The character around a quoted field; empty if there is none."""
        return '"' if self.quote is None else self.quote

    @property
    def columns(self) -> tuple[ColumnReference, ...]:
        """Every column that the profile refers to, once."""
        return tuple(dict.fromkeys(self._references()))

    def _references(self) -> Iterator[ColumnReference]:
        for each in self.hashes:
            yield each.column
            if each.algorithm_column is not None:
                yield each.algorithm_column
        yield from self.label
        yield from self.key
        yield from (column for column in (self.scheme, self.jurisdiction) if column is not None)
        yield from (part.column for part in (self.updated_on, self.deleted) if part is not None)
        yield from (flag.column for flag in self.flags)


def parse_profile(text: str) -> Profile:
    """The profile that `text`, TOML, states. Raises `DeliveryError` INVALID_PROFILE."""
    if not text.strip():
        raise _invalid("state one")
    if len(text) > MAXIMUM_PROFILE:
        raise _invalid(f"at most {MAXIMUM_PROFILE} characters")
    try:
        return msgspec.toml.decode(text, type=Profile)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _invalid(str(error)) from None
    except RecursionError:
        raise _invalid("nested too deeply") from None


def _invalid(problem: str) -> DeliveryError:
    return DeliveryError(f"profile: {problem}", reason=ErrorReason.INVALID_PROFILE)
