"""Asks a running server's probes, for health checks in an image that has neither a shell's tools nor curl.

`python -m hashmatch.service.probe [healthz|readyz|startupz]` finds the server by the same configuration. It imports
little, because it runs every few seconds.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from http import HTTPStatus
from pathlib import Path

from hashmatch.service.addresses import Address, parse_address
from hashmatch.service.config_loader import ConfigurationError, load

WELL, NOT_WELL, WRONG_USAGE = 0, 1, 2
PROBES = ("healthz", "readyz", "startupz")
_TIMEOUT = 3.0
# Where a server that listens everywhere can be asked from its own machine.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def main(argv: Sequence[str] | None = None) -> int:
    """Ask; returns 0 if the server is well, 1 if not or if it does not answer, 2 for wrong usage or configuration."""
    parser = argparse.ArgumentParser(prog="python -m hashmatch.service.probe", description="Ask the running server.")
    parser.add_argument("probe", nargs="?", choices=PROBES, default="readyz")
    parser.add_argument("--config", metavar="FILE", type=Path, help="the server's TOML file (or HASHMATCH_CONFIG)")
    arguments = parser.parse_args(argv)
    try:
        listen = load(file=arguments.config, environ=os.environ).config.metrics.listen
    except ConfigurationError as error:
        return _fail("\n".join(error.problems), WRONG_USAGE)
    if not listen:
        return _fail("metrics.listen is empty: there are no probes", WRONG_USAGE)
    return _ask(parse_address(listen), arguments.probe)


def _ask(address: Address, probe: str) -> int:
    host = _LOOPBACK.get(address.host, address.host)
    with closing(http.client.HTTPConnection(host, address.port, timeout=_TIMEOUT)) as connection:
        try:
            connection.request("GET", f"/{probe}")
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException):
            return _fail("the server does not answer", NOT_WELL)
    sys.stdout.write(text)
    return WELL if answer.status == HTTPStatus.OK else NOT_WELL


def _fail(text: str, status: int) -> int:
    sys.stderr.write(f"{text}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
