"""The command line: its words, and nothing that takes time to load."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

from hashmatch.admin import values
from hashmatch.admin.parsing import DOCUMENT as _DOCUMENT
from hashmatch.admin.parsing import ROWS as _ROWS
from hashmatch.admin.parsing import Parser
from hashmatch.admin.parsing import add_output as _add_output
from hashmatch.admin.parsing import add_reason as _add_reason
from hashmatch.admin.parsing import command as _command
from hashmatch.admin.parsing import finish as _finish
from hashmatch.admin.parsing import group as _group
from hashmatch.admin.trust_parser import add_audit, add_pki, add_policy

_NATURES = ("illegal", "exploitative", "self-reported", "terrorist", "test", "known-good")
_VOTED = ("md5", "sha1", "photodna", "pdq")
_MODES = ("full", "incremental")
# Those of the registry, which takes long to load.
_FORMATS = (
    "bundle",
    "ncmec",
    "vics",
    "nist-vics",
    "stopncii",
    "tech-against-terrorism",
    "threatexchange",
    "icse",
    "nsrl-csv",
    "nsrl-sqlite",
    "columns",
    "hash-text",
)
_FILE_OPTIONS = {"file", "hashes_file", "profile", "config", "ca_file", "cert_file", "key_file"}

# How long a call may take, in seconds. A delivery is transferred, parsed and compared in one call; what publishes reads
# every segment back before it takes effect.
_SECONDS_TO_PUBLISH = 900
_SECONDS_TO_STAGE = 3_600

_PROFILE_HELP = "with columns: the TOML file that says what the columns mean, or builtin:NAME"

_VISIBLE = "The arguments of a command can be seen in the list of processes and stay in the shell's history:"


def build_parser() -> Parser:
    """The parser of `hashmatch-admin`. Its result has `run`, the module and function that carry the command out."""
    parser = Parser(
        prog="hashmatch-admin",
        description="Take in, vet, approve, publish and correct the lists that a hashmatch server serves.",
    )
    parser.add_argument("--version", action=_PrintVersion, help="show the version and exit")
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=("bash", "zsh"),
        help="print what makes the shell complete this command, and exit",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_list(_group(commands, "list", "define, show and withdraw lists"))
    _add_inspect(commands)
    _add_stage(commands)
    _add_staging(_group(commands, "staging", "inspect, approve, publish and discard what was staged"))
    _add_rollback(commands)
    _add_suppress(commands)
    _add_unsuppress(commands)
    _add_withdraw(commands)
    _add_history(commands)
    _add_feed(_group(commands, "feed", "run feeds, see how they stand, give their bodies feedback"))
    _add_doctor(commands)
    _add_backup(commands)
    _add_restore(commands)
    _add_report(commands)
    add_policy(_group(commands, "policy", "say who may ask what"))
    add_audit(_group(commands, "audit", "verify and read the audit log"))
    add_pki(_group(commands, "pki", "make certificates for a trial"))
    return parser


def _add_list(commands: Any) -> None:
    parser = _command(
        commands,
        "define",
        ("lists", "define"),
        "create a list, or change what is stated about it",
        "State what a list is. Everything is stated anew: what is left out becomes empty.",
    )
    parser.add_argument("list_id", metavar="LIST", help="its id: a-z 0-9 . _ -, starting with a letter or digit")
    parser.add_argument("--body", required=True, metavar="NAME", help="the authority that publishes it")
    parser.add_argument("--nature", required=True, choices=_NATURES, help=f"what it is about: {', '.join(_NATURES)}")
    parser.add_argument(
        "--max-age",
        required=True,
        type=values.span,
        metavar="SPAN",
        help="older than this it gives no negatives: 30d, 12h, 1d12h",
    )
    parser.add_argument(
        "--max-distance",
        type=int,
        choices=range(32),
        metavar="BITS",
        help="how far a near PDQ code of it may be, 0 (equal) to 31 (default: the server's limit)",
    )
    parser.add_argument("--title", default="", metavar="TEXT", help="a title for people")
    parser.add_argument("--scheme", default="", metavar="NAME", help="the scheme of labels where an entry gives none")
    parser.add_argument("--jurisdiction", default="", metavar="NAME", help="the jurisdiction where an entry gives none")
    _finish(parser, _DOCUMENT, dry_run=True)

    parser = _command(
        commands,
        "show",
        ("lists", "show"),
        "show the lists, or one with what can be rolled back to and what is staged",
        "Show the lists, or one of them with the generations that can be rolled back to and what is staged for it.",
    )
    parser.add_argument("list_id", nargs="?", metavar="LIST", help="only this one, in detail")
    _finish(parser, _ROWS)
    parser.add_argument(
        "--match-target", metavar="ADDRESS", help="where the server answers about lists (default: 127.0.0.1:50051)"
    )

    parser = _command(
        commands,
        "withdraw",
        ("lists", "withdraw"),
        "stop serving a list",
        "Stop serving a list, at once. Its definition stays, and rollback brings an earlier generation back.",
    )
    parser.add_argument("list_id", metavar="LIST", help="the list")
    _add_reason(parser)
    _finish(parser, _DOCUMENT, dry_run=True)


def _add_inspect(commands: Any) -> None:
    parser = _command(
        commands,
        "inspect",
        ("inspect", "inspect"),
        "say what a delivery is and what is in it, without a server",
        "Read a delivery here and say what it is: its format, its hashes by algorithm, labels, flags, and what would\n"
        "be quarantined and why. Nothing is sent. Exits with 5 if the delivery would be refused as a whole.",
    )
    parser.add_argument("file", metavar="FILE", help="the delivery; - is standard input")
    parser.add_argument("--format", choices=_FORMATS, help="how it is written (default: what its bytes say)")
    parser.add_argument("--profile", metavar="FILE", help=_PROFILE_HELP)
    _add_output(parser, _DOCUMENT)


def _add_stage(commands: Any) -> None:
    parser = _command(
        commands,
        "stage",
        ("stage", "stage"),
        "take in a delivery and report what is in it",
        "Send a delivery to the server, which parses it, quarantines what is unsound, compares it with the list and\n"
        "reports. Nobody is served from it before it is approved and published.",
    )
    parser.add_argument("file", metavar="FILE", help="the delivery; - is standard input")
    parser.add_argument("--list", required=True, dest="list_id", metavar="LIST", help="the list; it must be defined")
    parser.add_argument("--format", required=True, choices=_FORMATS, help="how the delivery is written")
    parser.add_argument(
        "--mode",
        required=True,
        choices=_MODES,
        help="full: it is the whole list, what it lacks is removed; incremental: it adds to the list",
    )
    about = parser.add_argument_group("about the delivery")
    about.add_argument("--profile", metavar="FILE", help=_PROFILE_HELP)
    about.add_argument(
        "--as-of", type=values.instant, metavar="DATE", help="when it was current, ISO 8601 (default: now)"
    )
    about.add_argument("--label", default="", metavar="TEXT", help="the label of entries that give none")
    about.add_argument("--scheme", default="", metavar="NAME", help="the scheme of labels where an entry gives none")
    about.add_argument("--jurisdiction", default="", metavar="NAME", help="the jurisdiction where an entry gives none")
    about.add_argument(
        "--declared-records",
        type=partial(values.at_least, 0),
        metavar="N",
        help="how many records the body says there are; a different number is a gate that is not met",
    )
    about.add_argument(
        "--request-id", default="", metavar="ID", help="staging again under the same id returns the first outcome"
    )
    _finish(parser, _DOCUMENT, dry_run=True, seconds=_SECONDS_TO_STAGE)
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


def _add_staging(commands: Any) -> None:
    parser = _command(commands, "list", ("staging", "show_all"), "show what is staged and not yet published")
    parser.add_argument("--list", default="", dest="list_id", metavar="LIST", help="only for this list")
    _finish(parser, _ROWS)

    parser = _command(commands, "show", ("staging", "show"), "show a vetting report and what to do next")
    _add_staging_id(parser)
    _finish(parser, _DOCUMENT)

    parser = _command(
        commands,
        "approve",
        ("staging", "approve"),
        "say that you read the report and agree",
        "Show the vetting report, ask, and approve exactly that report. With --digest nothing is shown or asked: the\n"
        "digest names the report that was read before. Who staged a delivery cannot approve it.",
    )
    _add_staging_id(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--digest", type=values.approval_digest, metavar="HEX", help="the approval digest of the report that you read"
    )
    how.add_argument("--yes-i-read-the-report", action="store_true", dest="yes", help="show the report and do not ask")
    parser.add_argument("--note", default="", metavar="TEXT", help="a note for the record")
    _finish(parser, _DOCUMENT)

    parser = _command(
        commands,
        "publish",
        ("staging", "publish"),
        "make it visible",
        "Make a staged generation visible to everybody, in one step, after its segments were read back and verified.",
    )
    _add_staging_id(parser)
    parser.add_argument(
        "--accept-gate",
        action="append",
        default=[],
        dest="gates",
        metavar="NAME",
        help="publish although this gate is not met; may be repeated, and needs --reason",
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the record")
    _finish(parser, _DOCUMENT, dry_run=True, seconds=_SECONDS_TO_PUBLISH)

    parser = _command(commands, "discard", ("staging", "discard"), "drop it")
    _add_staging_id(parser)
    _add_reason(parser)
    _finish(parser, _DOCUMENT)


def _add_rollback(commands: Any) -> None:
    parser = _command(
        commands,
        "rollback",
        ("lists", "rollback"),
        "publish an earlier generation of a list again",
        "Publish an earlier generation of a list again, under a new number. `list show LIST` names those retained.",
    )
    parser.add_argument("list_id", metavar="LIST", help="the list")
    parser.add_argument(
        "--generation",
        type=partial(values.at_least, 1),
        default=0,
        metavar="N",
        help="the one to return to (default: the one before the current)",
    )
    _add_reason(parser)
    _finish(parser, _DOCUMENT, dry_run=True)


def _add_suppress(commands: Any) -> None:
    parser = _command(
        commands,
        "suppress",
        ("entries", "suppress"),
        "leave hashes out of every answer",
        f"Leave the opinions on hashes out of every answer, at once and also after later deliveries.\n\n{_VISIBLE}\n"
        "prefer --hashes. Hashes are never printed.",
    )
    _add_hashes(parser, positional=True)
    parser.add_argument(
        "--list",
        action="append",
        default=[],
        dest="list_ids",
        metavar="LIST",
        help="only in this list; may be repeated (default: in all)",
    )
    _add_reason(parser)
    _finish(parser, _DOCUMENT, dry_run=True)


def _add_unsuppress(commands: Any) -> None:
    parser = _command(
        commands,
        "unsuppress",
        ("entries", "unsuppress"),
        "end suppressions",
        f"End the suppression of hashes, in every list.\n\n{_VISIBLE}\nprefer --hashes. Hashes are never printed.",
    )
    _add_hashes(parser, positional=True)
    _add_reason(parser)
    _finish(parser, _DOCUMENT, dry_run=True)


def _add_withdraw(commands: Any) -> None:
    parser = _command(
        commands,
        "withdraw",
        ("entries", "withdraw"),
        "remove entries from a list at the body's word",
        "Remove entries from a list at the body's word, without waiting for its next delivery. A later delivery that\n"
        "has them adds them again. Up to 1,000 hashes and 1,000 keys at a time; more come as a delivery.",
    )
    parser.add_argument("list_id", metavar="LIST", help="the list")
    _add_hashes(parser, positional=False)
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        dest="keys",
        metavar="KEY",
        help="the body's own key of an entry; may be repeated",
    )
    _add_reason(parser)
    _finish(parser, _DOCUMENT, dry_run=True, seconds=_SECONDS_TO_PUBLISH)


def _add_history(commands: Any) -> None:
    parser = _command(commands, "history", ("lists", "history"), "show what was done, newest first")
    parser.add_argument("list_id", nargs="?", default="", metavar="LIST", help="only to this list")
    parser.add_argument(
        "--limit", type=partial(values.at_least, 1), default=50, metavar="N", help="the last N acts (default: 50)"
    )
    _finish(parser, _ROWS)


def _add_feed(commands: Any) -> None:
    parser = _command(
        commands,
        "run",
        ("feeds", "run"),
        "pull what a body published, now",
        "Read everything that the body of a feed published since the list's checkpoint, and stage it as one delivery.\n"
        "It goes on in the server if this command is interrupted. While an earlier round waits to be published,\n"
        "nothing is read.",
    )
    _add_feed_name(parser)
    parser.add_argument("--full", action="store_true", help="read everything anew; drops a round that waits")
    parser.add_argument("--drop-waiting", action="store_true", help="drop a round that waits, and read again")
    _finish(parser, _DOCUMENT, seconds=_SECONDS_TO_STAGE)

    parser = _command(commands, "status", ("feeds", "status"), "show how the feeds stand")
    parser.add_argument("--feed", default="", dest="name", metavar="NAME", help="only this one")
    _finish(parser, _ROWS)

    parser = _command(
        commands,
        "feedback",
        ("feeds", "feedback"),
        "tell a body that an entry is right or wrong",
        "Tell the body of a feed, in its own form, what you think of an entry. NCMEC needs --key, --algorithm and,\n"
        "for a negative vote, --reason-id; StopNCII needs --hashes; ThreatExchange needs --key.",
    )
    _add_feed_name(parser)
    parser.add_argument(
        "opinion", choices=("affirmative", "negative"), help="affirmative: the body is right; negative: it is wrong"
    )
    parser.add_argument(
        "--key", default="", metavar="KEY", help="the entry: MEMBER/ENTRY (NCMEC), a descriptor's id (ThreatExchange)"
    )
    parser.add_argument("--algorithm", choices=_VOTED, help="NCMEC: which of the entry's fingerprints is meant")
    parser.add_argument("--reason-id", default="", metavar="ID", help="NCMEC: why, by the id that it gave the reason")
    parser.add_argument(
        "--tag", action="append", default=[], dest="tags", metavar="TEXT", help="StopNCII: a tag; may be repeated"
    )
    parser.add_argument(
        "--hashes", dest="hashes_file", metavar="FILE", help="StopNCII: a file with the one hash; - is standard input"
    )
    _finish(parser, _DOCUMENT)


def _add_feed_name(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="the feed; `feed status` names them")


def _add_doctor(commands: Any) -> None:
    parser = _command(
        commands,
        "doctor",
        ("doctor", "doctor"),
        "say what is wrong with a server and how to mend it, on its own machine",
        "Examine a server's configuration, data directory, keys, certificates, store, clock and lists. It asks\n"
        "nothing of the server and changes nothing, and works whether or not server and store run. Run it as the\n"
        "server's user. Exits with 1 for an error, 6 if there are only warnings.",
    )
    _add_configuration(parser)
    _add_output(parser, _DOCUMENT)


def _add_backup(commands: Any) -> None:
    parser = _command(
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
    _add_output(parser, _DOCUMENT)


def _add_restore(commands: Any) -> None:
    parser = _command(
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
    _add_output(parser, _DOCUMENT)


def _add_report(commands: Any) -> None:
    parser = _command(
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
    _add_output(parser, ("table", "json", "csv", "html"))


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


def _add_staging_id(parser: Parser) -> None:
    parser.add_argument("staging_id", metavar="ID", help="the id that staging gave")


def _add_hashes(parser: Parser, *, positional: bool) -> None:
    if positional:
        parser.add_argument(
            "hashes", nargs="*", metavar="HASH", help="32, 40, 64 or 128 hexadecimal digits: MD5, SHA-1, -256 or -512"
        )
    parser.add_argument(
        "--hashes",
        dest="hashes_file",
        metavar="FILE",
        help="read hashes, one a line (HEX, or HEX and a name, as sha256sum writes); - is standard input",
    )


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
