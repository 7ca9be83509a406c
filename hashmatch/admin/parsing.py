"""What the command line is made of: the parser with its manners, and the options that commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from hashmatch.admin import values
from hashmatch.admin.exits import EPILOG

DOCUMENT = ("table", "json")
ROWS = ("table", "json", "jsonl", "csv")
# How long a call may take, in seconds.
SECONDS = 30


class Parser(argparse.ArgumentParser):
    """A parser with the manners of this command: no abbreviations, and no hash in what it says."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **options, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, epilog=EPILOG
        )

    def error(self, message: str) -> NoReturn:
        """Says what is wrong and exits. argparse repeats arguments that it does not expect; they may be hashes."""
        super().error(values.without_hashes(message))


def group(commands: Any, name: str, text: str) -> Any:
    """Adds a command that has commands of its own; returns where those are added."""
    parser = commands.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.")
    return parser.add_subparsers(dest=f"{name}_command", metavar="COMMAND", required=True)


def command(commands: Any, name: str, run: tuple[str, str], text: str, description: str = "") -> Parser:
    """Adds a command; `run` is the module and function that carry it out."""
    parser: Parser = commands.add_parser(name, help=text, description=description or f"{text[:1].upper()}{text[1:]}.")
    parser.set_defaults(run=run)
    return parser


def add_reason(parser: Parser) -> None:
    """Adds the reason that an act wants."""
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why, for the record")


def add_output(parser: Parser, outputs: Sequence[str]) -> None:
    """Adds the forms that the result may have."""
    output = parser.add_argument_group("output")
    output.add_argument("--output", choices=outputs, default="table", help="the form of the result (default: table)")
    output.add_argument("--no-color", action="store_true", help="no colours")


def finish(parser: Parser, outputs: Sequence[str], *, dry_run: bool = False, seconds: int = SECONDS) -> None:
    """Adds what every command that asks a server has."""
    if dry_run:
        parser.add_argument("--dry-run", action="store_true", help="let the server check it, and change nothing")
    add_output(parser, outputs)
    connection = parser.add_argument_group("connection")
    connection.add_argument(
        "--target", metavar="ADDRESS", help="where the server is administered (default: 127.0.0.1:50052)"
    )
    connection.add_argument("--ca-file", metavar="FILE", help="PEM roots that the server's certificate must lead to")
    connection.add_argument("--cert-file", metavar="FILE", help="PEM certificate to identify with")
    connection.add_argument("--key-file", metavar="FILE", help="PEM key of that certificate")
    connection.add_argument(
        "--operator",
        type=values.operator_name,
        metavar="NAME",
        help="who acts; believed only by a server without TLS, otherwise the certificate says it",
    )
    connection.add_argument(
        "--timeout",
        type=values.seconds,
        default=float(seconds),
        metavar="SECONDS",
        help=f"for each call (default: {seconds})",
    )
