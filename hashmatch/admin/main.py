"""The entry point of `hashmatch-admin`: reads the command line, runs the command, and lets no traceback out."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence

from hashmatch_client._errors import ApiError, HashmatchClientError, ProtocolViolationError
from hashmatch_client.cli.text import printable

from hashmatch.admin.exits import Exit, exit_of
from hashmatch.admin.parser import build_parser
from hashmatch.admin.values import without_hashes


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
    home, name = arguments.run
    try:
        command = getattr(importlib.import_module(f"hashmatch.admin.{home}"), name)
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
    except UnicodeEncodeError:  # bytes in an argument that are no text in the encoding of the terminal
        _complain("an argument is not valid text")
        return Exit.USAGE
    except Exception as error:  # noqa: BLE001 - the last resort; its text might hold anything, so only its kind is told
        _complain(f"a defect in this program: {type(error).__name__}")
        return Exit.FAILED
    return code


def _described(error: HashmatchClientError) -> str:
    """One line: what happened, which fields, when to try again, what may have happened; the request's id at the end."""
    parts = [str(error)]
    if isinstance(error, ApiError):
        # A server that speaks of one field says the same in its message.
        parts += [f"{each.field} {each.description}" for each in error.fields if each.description not in error.message]
        if error.retry_delay is not None:
            parts.append(f"try again in {error.retry_delay:g} s")
    parts += getattr(error, "__notes__", ())
    described = without_hashes("; ".join(parts))
    if isinstance(error, ApiError | ProtocolViolationError) and error.request_id:
        described += f"; request {error.request_id}"
    return described


def _complain(text: str) -> None:
    try:
        print(f"hashmatch-admin: {printable(text)}", file=sys.stderr)
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
