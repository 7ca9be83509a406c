"""The call that is being handled: who makes it, until when, and what its line in the log will say."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

from hashmatch.service.identity import Caller

NOBODY = Caller("", authenticated=False)

# A value that a handler adds to the log line of its call.
Note = str | int | float | bool


@dataclass(slots=True)
class Call:
    """One call. `deadline` is by the monotonic clock, None without one. The guard writes it, handlers read it."""

    request_id: str
    started: float
    method: str = ""
    deadline: float | None = None
    caller: Caller = NOBODY
    notes: dict[str, Note] = field(default_factory=dict)


_CURRENT: ContextVar[Call] = ContextVar("hashmatch-call")


def current_call() -> Call:
    """The call that is being handled. Raises `LookupError` outside of one."""
    return _CURRENT.get()


def enter_call(call: Call) -> None:
    """Make `call` the current one. Each call has a task of its own, with whose end this ends too."""
    _CURRENT.set(call)


def annotate(**notes: Note) -> None:
    """Add fields to the log line of the current call: counts, never data. Without a call it does nothing."""
    call = _CURRENT.get(None)
    if call is not None:
        call.notes.update(notes)


def tally(**counts: int) -> None:
    """Add up counts over the messages of the current call, for its log line. Without a call it does nothing."""
    call = _CURRENT.get(None)
    if call is not None:
        for name, count in counts.items():
            so_far = call.notes.get(name, 0)
            call.notes[name] = count + (so_far if isinstance(so_far, int) else 0)
