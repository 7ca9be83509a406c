"""What every process of a server does before and around its work."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import uvloop

from hashmatch.ingest.feeds.definition import FeedDefinitionError
from hashmatch.model.errors import HashmatchError
from hashmatch.service import logs
from hashmatch.service.config import Config
from hashmatch.service.data_directory import DataDirectoryError
from hashmatch.service.listeners import ListenError
from hashmatch.service.secrets import SecretError
from hashmatch.store.archive import ArchiveError
from hashmatch.store.floor import FloorError
from hashmatch.trust.audit import AuditError
from hashmatch.trust.process_memory import keep_out_of_dumps
from hashmatch.trust.sealing import SealingKeyError

DONE, FAILED, WRONG_USAGE = 0, 1, 2
_PR_SET_PDEATHSIG = 1


class ChildError(Exception):
    """A process of the server ended while the server was starting. It has said why."""


def run(config: Config, work: Coroutine[Any, Any, None], *, process: str = "") -> int:
    """Run a process's work on an event loop; returns its exit status. `process` is named in every line of the log."""
    keep_out_of_dumps()
    # Importers are started by fork and exec. gRPC's own care for forks is for those that go on without exec, and only
    # warns here; it has to be told before the first of its objects is made.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    logs.configure(level=config.logs.level, format=config.logs.format, process=process)
    try:
        uvloop.run(work)
    except (
        ChildError,
        FeedDefinitionError,
        HashmatchError,
        SealingKeyError,
        SecretError,
        FloorError,
        ArchiveError,
        AuditError,
        ListenError,
        DataDirectoryError,
        OSError,
    ) as error:
        return fail(str(error))
    return DONE


def fail(message: str) -> int:
    """Say on standard error why nothing came of it; returns the exit status."""
    sys.stderr.write(f"hashmatch-server: {message}\n")
    return FAILED


def leave_libraries_to_themselves() -> None:
    """Have the collector pass over what is there after the start.

    The libraries' own objects are there for good. To look through them all for garbage, as is done now and then, would
    keep callers waiting for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()


def allow_many_files() -> None:
    """Let this process have as many files open as it may at all: shared memory takes a descriptor for each piece."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def end_with_parent(parent: int) -> None:
    """Have the kernel tell this process to stop when `parent`, which started it, is gone."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0 or os.getppid() != parent:
        sys.exit(FAILED)
