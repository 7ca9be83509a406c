"""Where `hashmatch-server` begins: says plainly what is missing where only the client was installed."""

from __future__ import annotations

import sys


def main() -> int:
    """Run `hashmatch-server`."""
    try:
        from hashmatch.service.main import main as serve
    except ModuleNotFoundError as error:
        sys.stderr.write(f"hashmatch-server: {error.name} is missing; install hashmatch[server]\n")
        return 1
    return serve()
