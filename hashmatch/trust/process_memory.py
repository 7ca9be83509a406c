"""Keeping what a process has in its memory, keys and lists, in its memory."""

from __future__ import annotations

import ctypes
import resource

_PR_SET_DUMPABLE = 4


def keep_out_of_dumps() -> None:
    """Have no core of this process written, and nobody but root read its memory or attach to it.

    Both outlast a fork; a program that is started begins anew with the second, and has to ask for it itself. Where the
    kernel knows nothing of it, as outside of Linux, only the first holds.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
