"""The words of the commands that work on the server's own machine: they ask nothing of the server."""

from __future__ import annotations

from typing import Any

from hashmatch.admin import values
from hashmatch.admin.parsing import DOCUMENT, Parser, add_output, command


def add_doctor(commands: Any) -> None:
    """`doctor`."""
    parser = command(
        commands,
        "doctor",
        ("doctor", "doctor"),
        "say what is wrong with a server and how to mend it, on its own machine",
        "Examine a server's configuration, data directory, keys, certificates, store, clock and lists. It asks\n"
        "nothing of the server and changes nothing, and works whether or not server and store run. Run it as the\n"
        "server's user. Exits with 1 for an error, 6 if there are only warnings.",
    )
    _add_configuration(parser)
    add_output(parser, DOCUMENT)


def add_backup(commands: Any) -> None:
    """`backup`."""
    parser = command(
        commands,
        "backup",
        ("backup", "backup"),
        "put everything of a server that its store does not hold into one file",
        "Write the archive, the epoch floor, the audit log, the daily counts and the configuration of a server to one\n"
        "file, on its own machine, while it runs or not. Says what is secret in it.",
    )
    parser.add_argument("file", metavar="FILE", help="where to write; compressed if it ends in .zst; must not exist")
    parser.add_argument(
        "--with-sealing-key",
        action="store_true",
        help="include the sealing key: whoever has the file has the lists then",
    )
    _add_configuration(parser)
    add_output(parser, DOCUMENT)


def add_restore(commands: Any) -> None:
    """`restore`."""
    parser = command(
        commands,
        "restore",
        ("backup", "restore"),
        "put a backup back, whole or not at all",
        "Verify a backup and put it into an empty data directory, on the machine of a server that does not run.",
    )
    parser.add_argument("file", metavar="FILE", help="the backup")
    parser.add_argument("--data-dir", metavar="DIRECTORY", help="the server's data directory; made where it is missing")
    parser.add_argument("--configuration", metavar="DIRECTORY", help="where the configuration goes; must not exist")
    parser.add_argument("--force", action="store_true", help="move what is in the data directory aside, into it")
    parser.add_argument("--dry-run", action="store_true", help="verify the backup, and write nothing")
    add_output(parser, DOCUMENT)


def add_report(commands: Any) -> None:
    """`report`."""
    parser = command(
        commands,
        "report",
        ("figures", "report"),
        "tell the figures that regulators ask for",
        "Tell volumes, matches, disputes and error ratios by list and algorithm, retractions, retention and the\n"
        "owners of lists; as JSON or as a page to print also under the names that the EU's interim regulation, the\n"
        "DSA and Ofcom's hash matching measure have. It reads the data directory of a server with administration.",
    )
    parser.add_argument(
        "--from", required=True, dest="first", type=values.day, metavar="DATE", help="the first day, UTC"
    )
    parser.add_argument("--to", required=True, dest="last", type=values.day, metavar="DATE", help="the last day, UTC")
    _add_configuration(parser)
    add_output(parser, ("table", "json", "csv", "html"))


def _add_configuration(parser: Parser) -> None:
    """What commands have that work on the server's own machine."""
    server = parser.add_argument_group("the server's configuration")
    server.add_argument("--config", metavar="FILE", help="its TOML file (or HASHMATCH_CONFIG)")
    server.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="SECTION.KEY=VALUE",
        help="any setting, as for hashmatch-server; may be repeated",
    )
