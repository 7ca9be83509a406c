"""The command line: its words, and nothing that takes time to load."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

from hashmatch_client.cli.exits import EPILOG
from hashmatch_client.hashing import FILE_ALGORITHMS

ALGORITHM_NAMES = {algorithm.value: algorithm for algorithm in FILE_ALGORITHMS}
_FILE_OPTIONS = {"paths", "hashes", "vpdq", "ca_file", "cert_file", "key_file"}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `hashmatch`."""
    parser = argparse.ArgumentParser(
        prog="hashmatch",
        description="Ask a hashmatch server which files are known. Only hashes leave this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_PrintVersion, help="show the version and exit")
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=("bash", "zsh"),
        help="print what makes the shell complete this command, and exit",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_check(commands)
    _add_lists(commands)
    _add_snapshot(commands)
    _add_watch(commands)
    _add_feedback(commands)
    _add_verify_receipt(commands)
    return parser


def _add_check(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="check files, or hashes, against the lists",
        description="Hash the files at and under each PATH, or read hashes, and ask about all hashes of a file as one.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="a file, or a folder with everything in it")
    parser.add_argument(
        "--hashes",
        metavar="FILE",
        help="read hashes instead, one a line (HEX, ALGORITHM:HEX or pdq:HEX:QUALITY, and a name, as sha256sum "
        "writes); - is standard input",
    )
    parser.add_argument(
        "--vpdq",
        metavar="FILE",
        nargs="+",
        help="ask about videos instead, by files of their vPDQ hashes as its tools write them: JSON, or a frame a line",
    )
    scope = parser.add_argument_group("what to consult")
    scope.add_argument(
        "--list", dest="lists", action="append", default=[], metavar="ID", help="only this list; may be repeated"
    )
    scope.add_argument(
        "--min-sources", type=_at_least(1), default=1, metavar="N", help="a match needs N bodies (default: 1)"
    )
    scope.add_argument(
        "--newer-than-epoch", type=_at_least(0), default=0, metavar="N", help="only what was published after epoch N"
    )
    hashing = parser.add_argument_group("hashing")
    hashing.add_argument(
        "--algorithms",
        type=_algorithms,
        metavar="NAMES",
        help=f"among {','.join(ALGORITHM_NAMES)} (default: those that the lists carry)",
    )
    hashing.add_argument("--jobs", type=_at_least(1), metavar="N", help="read N files at a time (default: one a core)")
    hashing.add_argument("--follow-symlinks", action="store_true", help="follow symbolic links")
    hashing.add_argument("--dry-run", action="store_true", help="hash, show what would be asked, and ask nothing")
    output = _add_output(parser, ("table", "json", "jsonl", "csv"))
    output.add_argument("--all", action="store_true", help="in the table, show also what is not known")
    output.add_argument("--with-hashes", action="store_true", help="in JSON and CSV, give also the hashes themselves")
    output.add_argument(
        "--save-answers",
        metavar="DIRECTORY",
        help="ask for receipts, and write each answer with what it answers to a file, for `verify-receipt`",
    )
    output.add_argument("--quiet", action="store_true", help="no progress and no summary on standard error")
    _add_connection(parser)


def _add_lists(commands: Any) -> None:
    parser = commands.add_parser("lists", help="show the lists: whose, how large, how old")
    _add_output(parser, ("table", "json", "jsonl", "csv"))
    _add_connection(parser)


def _add_snapshot(commands: Any) -> None:
    parser = commands.add_parser("snapshot", help="show what is served now, and what changed")
    parser.add_argument(
        "--since-epoch", type=_at_least(0), metavar="N", help="show what changed after epoch N (default: nothing)"
    )
    _add_output(parser, ("table", "json"))
    _add_connection(parser)


def _add_watch(commands: Any) -> None:
    parser = commands.add_parser("watch", help="show every change as it is published, until interrupted")
    parser.add_argument(
        "--since-epoch", type=_at_least(0), metavar="N", help="begin with what changed after epoch N (default: now)"
    )
    _add_output(parser, ("table", "jsonl"))
    _add_connection(parser)


def _add_feedback(commands: Any) -> None:
    parser = commands.add_parser(
        "feedback",
        help="say of matches that they are right, or wrong and why",
        description="Say what was found when somebody looked into matches of a list. It changes no verdict: it is\n"
        "told beside opinions, and reaches the operator. Saying something else replaces it.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("list_id", metavar="LIST", help="the list that the hashes matched in")
    said = parser.add_mutually_exclusive_group(required=True)
    said.add_argument("--confirm", action="store_true", help="the files are what the list says")
    said.add_argument(
        "--dispute",
        choices=("other-content", "lawful", "wrong-label", "other"),
        help="they are not: they are something else; are lawful here; are unlawful and have another label; or what "
        "--note says",
    )
    said.add_argument("--withdraw", action="store_true", help="take back what was said before")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--hashes", metavar="FILE", help="the hashes, one a line as for check; - is standard input")
    given.add_argument("--vpdq", metavar="FILE", nargs="+", help="videos, by files of their vPDQ hashes")
    parser.add_argument(
        "--note",
        default="",
        metavar="TEXT",
        help="for the operator, at most 500 characters; no hash, no content, no name",
    )
    _add_connection(parser)


def _add_verify_receipt(commands: Any) -> None:
    parser = commands.add_parser(
        "verify-receipt",
        help="verify what a server answered, offline",
        description="Verify the receipts of answers that `check --save-answers` saved. It asks no server.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a saved answer")
    parser.add_argument(
        "--key-of-server",
        required=True,
        metavar="KEY",
        help="the server's public key, NAME+ID+KEY in one line, or a file of such lines",
    )
    _add_output(parser, ("table", "json", "jsonl", "csv"))


def _add_output(parser: argparse.ArgumentParser, formats: Sequence[str]) -> argparse._ArgumentGroup:
    output = parser.add_argument_group("output")
    output.add_argument("--output", choices=formats, default="table", help="the form of the result (default: table)")
    output.add_argument("--no-color", action="store_true", help="no colours")
    return output


def _add_connection(parser: argparse.ArgumentParser) -> None:
    connection = parser.add_argument_group("connection")
    connection.add_argument("--target", metavar="ADDRESS", help="host:port or unix:path of the server")
    connection.add_argument("--ca-file", metavar="FILE", help="PEM roots that the server's certificate must lead to")
    connection.add_argument("--cert-file", metavar="FILE", help="PEM certificate to identify with")
    connection.add_argument("--key-file", metavar="FILE", help="PEM key of that certificate")
    connection.add_argument(
        "--purpose", metavar="NAME", help="what is asked for, where the server's policy names several purposes"
    )
    connection.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="for each call (default: 5)")


def _at_least(least: int) -> Any:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return value

    return number


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError("must be a positive number of seconds")
    return value


_seconds.__name__ = "number of seconds"


def _algorithms(text: str) -> Any:
    names = [name.strip().lower().replace("-", "") for name in text.split(",")]
    unknown = [name for name in names if name not in ALGORITHM_NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"choose among {','.join(ALGORITHM_NAMES)}")
    return tuple(dict.fromkeys(ALGORITHM_NAMES[name] for name in names))


class _PrintVersion(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"{parser.prog} {version('hashmatch')}")
        parser.exit()


class _PrintCompletion(argparse.Action):
    """Writes a completion script for the shell that was named."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, _namespace: Any, shell: Any, _option: Any = None) -> None:
        import shtab

        for action in _actions(parser):
            if action.dest in _FILE_OPTIONS:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, shell))
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Every option and argument of a parser and of its commands."""
    found = []
    for action in parser._actions:  # argparse has no public way to them; shtab goes the same way
        found.append(action)
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                found += _actions(command)
    return found
