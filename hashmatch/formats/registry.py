"""The formats by name: what a delivery states that it is decides which parser reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from hashmatch.formats.columns_profile import ColumnsParser
from hashmatch.formats.delivery import DeliveryParser, ParserOptions
from hashmatch.formats.hash_text import HashTextParser
from hashmatch.model.errors import ErrorReason, HashmatchError

_PARSERS: dict[str, tuple[str, Callable[[ParserOptions], DeliveryParser]]] = {
    "columns": ("a CSV, TSV or JSON lines table that a profile describes", ColumnsParser),
    "hash-text": ("a hexadecimal digest a line, as the checksum tools write them", HashTextParser),
}

# What each format is, for people.
FORMATS: Mapping[str, str] = MappingProxyType({name: description for name, (description, _) in _PARSERS.items()})


def open_parser(name: str, options: ParserOptions) -> DeliveryParser:
    """A parser for one delivery of the format `name`.

    Raises `HashmatchError` UNKNOWN_FORMAT if there is none, and `DeliveryError` INVALID_PROFILE if the format takes a
    profile and `options.profile` is not a valid one.
    """
    if name not in _PARSERS:
        raise HashmatchError(ErrorReason.UNKNOWN_FORMAT, f"no such format; there are: {', '.join(FORMATS)}")
    return _PARSERS[name][1](options)
