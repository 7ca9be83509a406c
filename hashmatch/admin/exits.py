"""What the exit code says, and which failure has which."""

from __future__ import annotations

import enum

from hashmatch_client._errors import (
    ApiError,
    ConfigurationError,
    DeadlineExceededError,
    HashmatchClientError,
    InvalidHashError,
    NotPermittedError,
    OverloadedError,
    UnavailableError,
)


class Exit(enum.IntEnum):
    """The exit codes. Scripts rely on them: never change one."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    NOT_PERMITTED = 4
    REFUSED = 5
    WARNED = 6
    PROPOSED = 7
    INTERRUPTED = 130


class RefusedHereError(HashmatchClientError):
    """Something that was refused on this machine, as a server refuses things."""


EPILOG = """\
exit codes:
  0    done
  2    the command line, a setting or a given hash is not right; nothing was sent
  3    the server is unavailable, overloaded or too slow
  4    the server does not permit it
  5    refused as things stand: a gate is not met, approvals are missing, the report or the list has changed
  6    nothing is broken, but something will be (doctor)
  7    proposed: it takes effect once others have approved it and it is carried out
  1    anything else
  130  interrupted

environment:
  HASHMATCH_ADMIN_TARGET, HASHMATCH_OPERATOR, HASHMATCH_CA_FILE, HASHMATCH_CERT_FILE, HASHMATCH_KEY_FILE and
  HASHMATCH_APPROVER_KEY stand in for --target, --operator and the options of the same name, and HASHMATCH_TARGET for
  --match-target; NO_COLOR turns colours off.
"""


def exit_of(error: HashmatchClientError) -> Exit:
    """The exit code for a failure."""
    match error:
        case ConfigurationError() | InvalidHashError():
            return Exit.USAGE
        case RefusedHereError():
            return Exit.REFUSED
        case ApiError(reason="DELIVERY_TOO_LARGE"):  # has the code of an overload, but waiting does not help
            return Exit.FAILED
        case UnavailableError() | DeadlineExceededError() | OverloadedError():
            return Exit.UNAVAILABLE
        case NotPermittedError():
            return Exit.NOT_PERMITTED
        case ApiError(code=code) if code is not None and code.name == "FAILED_PRECONDITION":
            return Exit.REFUSED
        case _:
            return Exit.FAILED
