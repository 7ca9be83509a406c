"""The bodies by kind."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hashmatch.ingest.feeds.body import Body
from hashmatch.ingest.feeds.exchange import ExchangeBody
from hashmatch.ingest.feeds.ncmec import NcmecBody
from hashmatch.ingest.feeds.stopncii import StopNciiBody
from hashmatch.ingest.feeds.tech_against_terrorism import TechAgainstTerrorismBody
from hashmatch.ingest.feeds.threatexchange import ThreatExchangeBody

BODIES: Mapping[str, Body] = MappingProxyType(
    {
        "exchange": ExchangeBody(),
        "ncmec": NcmecBody(),
        "stopncii": StopNciiBody(),
        "tech-against-terrorism": TechAgainstTerrorismBody(),
        "threatexchange": ThreatExchangeBody(),
    }
)
