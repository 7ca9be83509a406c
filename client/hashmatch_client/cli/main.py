"""The entry point of `hashmatch`: reads the command line, runs the command, and lets no traceback out."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence

from hashmatch_client._errors import ApiError, HashmatchClientError, ProtocolViolationError
from hashmatch_client.cli.exits import Exit, exit_of
from hashmatch_client.cli.parser import build_parser
from hashmatch_client.cli.text import printable

# The module and function of each command.
_HOMES = {
    "check": ("hashmatch_client.cli.check", "check"),
    "feedback": ("hashmatch_client.cli.feedback", "feedback"),
    "lists": ("hashmatch_client.cli.lists", "lists"),
    "snapshot": ("hashmatch_client.cli.snapshots", "snapshot"),
    "verify-receipt": ("hashmatch_client.cli.receipts", "verify_receipt_command"),
    "watch": ("hashmatch_client.cli.snapshots", "watch"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments, by default those of the process; returns its exit code."""
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else Exit.USAGE
    # What goes wrong is said here, once and in our words; gRPC's core would write to standard error on its own.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        module, function = _HOMES[arguments.command]
        command = getattr(importlib.import_module(module), function)
        code: Exit = command(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return Exit.FAILED
    except HashmatchClientError as error:
        _complain(_described(error))
        return exit_of(error)
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
        return Exit.FAILED
    except Exception as error:  # noqa: BLE001 - the last resort; its text might hold anything, so only its kind is told
        _complain(f"a defect in this program: {type(error).__name__}")
        return Exit.FAILED
    return code


def _described(error: HashmatchClientError) -> str:
    parts = [str(error)]
    if isinstance(error, ApiError):
        parts += [f"{violation.field} {violation.description}" for violation in error.fields]
        if error.retry_delay is not None:
            parts.append(f"try again in {error.retry_delay:g} s")
    if isinstance(error, ApiError | ProtocolViolationError) and error.request_id:
        parts.append(f"request {error.request_id}")
    return "; ".join(parts)


def _complain(text: str) -> None:
    try:
        print(f"hashmatch: {printable(text)}", file=sys.stderr)
    except BrokenPipeError:
        _discard_output()


def _discard_output() -> None:
    """Lets the interpreter flush into nothing on its way out: whoever read our output is gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(nowhere, stream.fileno())
        except (OSError, io.UnsupportedOperation, ValueError):
            continue
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
