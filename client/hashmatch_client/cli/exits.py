"""What the command's exit code says, and which failure has which."""

from __future__ import annotations

import enum

from hashmatch_client._errors import (
    ConfigurationError,
    DeadlineExceededError,
    HashmatchClientError,
    NotPermittedError,
    OverloadedError,
    UnavailableError,
)


class Exit(enum.IntEnum):
    """The exit codes. Scripts rely on them: never change one."""

    NOTHING_KNOWN = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    NOT_PERMITTED = 4
    MATCH = 10
    NOT_DETERMINED = 11
    INTERRUPTED = 130


EPILOG = """\
exit codes:
  0    done; of check: every item was answered, and nothing about any is known
  10   check found at least one match (there may be undetermined items too)
  11   check found no match, but at least one item could not be determined
  2    the command line or a setting is not right
  3    the server is unavailable, overloaded or too slow
  4    the server does not permit it
  1    anything else
  130  interrupted

environment:
  HASHMATCH_TARGET, HASHMATCH_CA_FILE, HASHMATCH_CERT_FILE, HASHMATCH_KEY_FILE, HASHMATCH_PURPOSE and
  HASHMATCH_TIMEOUT stand in for the options of the same name; NO_COLOR turns colours off.
"""


def exit_of(error: HashmatchClientError) -> Exit:
    """The exit code for a failure."""
    match error:
        case ConfigurationError():
            return Exit.USAGE
        case UnavailableError() | DeadlineExceededError() | OverloadedError():
            return Exit.UNAVAILABLE
        case NotPermittedError():
            return Exit.NOT_PERMITTED
        case _:
            return Exit.FAILED
