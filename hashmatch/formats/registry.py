"""The formats by name: what a delivery states that it is decides which parser reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from hashmatch.formats import (
    bundle,
    columns_profile,
    hash_text,
    icse,
    ncmec,
    nsrl,
    stopncii,
    tech_against_terrorism,
    threatexchange,
    vics,
)
from hashmatch.formats.delivery import DeliveryParser, ParserOptions
from hashmatch.model.errors import ErrorReason, HashmatchError


class Format(NamedTuple):
    """A delivery format.

    `description` is for people. `recognises` tells from the first bytes of a delivery (up to `HEAD_SIZE`, not
    compressed) whether it is in this format; None for a format that bytes alone cannot tell. `known_good` marks formats
    that carry harmless files: corpora to vet against, never a list of illegal content.
    """

    name: str
    description: str
    open: Callable[[ParserOptions], DeliveryParser]
    recognises: Callable[[bytes], bool] | None = None
    known_good: bool = False


# How much of a delivery `Format.recognises` may look at.
HEAD_SIZE = 65_536

# In the order in which they are tried on a delivery: the most particular first.
_FORMATS = (
    Format("bundle", "a list as another hashmatch hands it over", bundle.BundleParser, bundle.recognises),
    Format("ncmec", "NCMEC's hash sharing API, version 2 (XML)", ncmec.NcmecParser, ncmec.recognises),
    Format("vics", "Project VIC's JSON, versions 1.0 to 2.0, media or cases", vics.VicsParser, vics.recognises),
    Format(
        "nist-vics",
        "the set of harmless files that NIST publishes as VICS 1.2",
        partial(vics.VicsParser, known_good=True),
        known_good=True,
    ),
    Format("stopncii", "StopNCII's hash records (JSON)", stopncii.StopNciiParser, stopncii.recognises),
    Format(
        "tech-against-terrorism",
        "Tech Against Terrorism's hash list (JSON)",
        tech_against_terrorism.TechAgainstTerrorismParser,
        tech_against_terrorism.recognises,
    ),
    Format(
        "threatexchange",
        "updates of indicators of Meta's ThreatExchange (JSON)",
        threatexchange.ThreatExchangeParser,
        threatexchange.recognises,
    ),
    Format("icse", "the hash list of INTERPOL's ICSE database (CSV)", icse.IcseParser, icse.recognises),
    Format(
        "nsrl-csv",
        "NIST's reference data set of known software, version 2 (CSV)",
        nsrl.NsrlCsvParser,
        nsrl.recognises_csv,
        known_good=True,
    ),
    Format(
        "nsrl-sqlite",
        "NIST's reference data set of known software, version 3 (SQLite)",
        nsrl.NsrlSqliteParser,
        nsrl.recognises_sqlite,
        known_good=True,
    ),
    Format("columns", "a CSV, TSV or JSON lines table that a profile describes", columns_profile.ColumnsParser),
    Format("hash-text", "a hexadecimal digest a line, as the checksum tools write them", hash_text.HashTextParser),
)

FORMATS: Mapping[str, Format] = MappingProxyType({each.name: each for each in _FORMATS})


def format_named(name: str) -> Format:
    """The format of that name. Raises `HashmatchError` UNKNOWN_FORMAT if there is none."""
    if name not in FORMATS:
        raise HashmatchError(ErrorReason.UNKNOWN_FORMAT, f"no such format; there are: {', '.join(FORMATS)}")
    return FORMATS[name]


def open_parser(name: str, options: ParserOptions) -> DeliveryParser:
    """A parser for one delivery of the format `name`.

    Raises `HashmatchError` UNKNOWN_FORMAT if there is none, and `DeliveryError` INVALID_PROFILE if the format takes a
    profile and `options.profile` is not a valid one.
    """
    return format_named(name).open(options)
