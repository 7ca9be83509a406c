"""Runs the server from a checkout: `python server.py --help`. Installed, the same is `hashmatch-server`."""

from __future__ import annotations

import sys

from hashmatch.service.main import main

if __name__ == "__main__":
    sys.exit(main())
