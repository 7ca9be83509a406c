"""What an operator does for a feed: a definition, a file with credentials."""

from __future__ import annotations

from pathlib import Path

from tests.support.simulators.body import Body
from tests.support.simulators.ncmec import Ncmec
from tests.support.simulators.stopncii import StopNcii
from tests.support.simulators.tech_against_terrorism import TechAgainstTerrorism
from tests.support.simulators.threatexchange import ThreatExchange

BODIES: tuple[type[Body], ...] = (Ncmec, StopNcii, TechAgainstTerrorism, ThreatExchange)
NAME = "the-feed"


def write_feed(directory: Path, body: Body, **settings: object) -> Path:
    """A file with one feed that reads the simulator for the list `list`. Returns its path."""
    credentials = directory / "credentials.toml"
    credentials.write_text(body.credentials, "utf-8")
    credentials.chmod(0o600)
    stated: dict[str, object] = {
        "kind": body.kind,
        "list": "list",
        "credentials_file": str(credentials),
        "url": body.url,
        "interval": 2_592_000.0,
        "first_pause": 0.01,
        "page_size": body.page,
        **settings,
    }
    lines = [f"{name} = {_toml(value)}\n" for name, value in stated.items()]
    file = directory / "feeds.toml"
    file.write_text(f"[feed.{NAME}]\n{body.settings}{''.join(lines)}", "utf-8")
    return file


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
