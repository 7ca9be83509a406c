"""Found on the path by every Python that a test starts: plants the bug that the environment names before all else."""

from __future__ import annotations

import importlib
import os
import traceback

import pytest

_NOT_PLANTED = 70

try:
    _module, _, _name = os.environ["SEEDED_BUG"].partition(":")
    getattr(importlib.import_module(_module), _name)(pytest.MonkeyPatch())
except Exception:  # noqa: BLE001  whatever it is, nothing was planted
    # Python itself would only mention it and go on.
    traceback.print_exc()
    os._exit(_NOT_PLANTED)
