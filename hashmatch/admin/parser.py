"""The command line: its words, and nothing that takes time to load."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

from hashmatch.admin import values
from hashmatch.admin.exchange_parser import add_exchange
from hashmatch.admin.feed_parser import add_feed
from hashmatch.admin.machine_parser import add_backup, add_doctor, add_report, add_restore
from hashmatch.admin.parsing import DOCUMENT as _DOCUMENT
from hashmatch.admin.parsing import ROWS as _ROWS
from hashmatch.admin.parsing import Parser
from hashmatch.admin.parsing import add_output as _add_output
from hashmatch.admin.parsing import add_reason as _add_reason
from hashmatch.admin.parsing import command as _command
from hashmatch.admin.parsing import finish as _finish
from hashmatch.admin.parsing import group as _group
from hashmatch.admin.trust_parser import (
    add_approve,
    add_approver,
    add_approver_key,
    add_audit,
    add_feedback,
    add_floods,
    add_pki,
    add_policy,
    add_proposal,
)

_NATURES = ("illegal", "exploitative", "self-reported", "terrorist", "test", "known-good")
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
_FILE_OPTIONS = {
    "file",
    "hashes_file",
    "vpdq",
    "profile",
    "config",
    "ca_file",
    "cert_file",
    "key_file",
    "approver_key",
    "passphrase_file",
}

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
    _add_opinion(_group(commands, "opinion", "contribute, dispute and withdraw opinions on hashes"))
    _add_history(commands)
    add_feed(_group(commands, "feed", "run feeds, see how they stand, give their bodies feedback"))
    add_doctor(commands)
    add_backup(commands)
    add_restore(commands)
    add_report(commands)
    add_approve(commands)
    add_proposal(_group(commands, "proposal", "see what others propose, and carry it out"))
    add_approver(_group(commands, "approver", "say who can approve"))
    add_feedback(_group(commands, "feedback", "see what callers say of matches, and settle it"))
    add_floods(_group(commands, "floods", "see which entries suddenly match far more than before"))
    add_policy(_group(commands, "policy", "say who may ask what"))
    add_audit(_group(commands, "audit", "verify and read the audit log"))
    add_exchange(_group(commands, "exchange", "publish lists to other instances, and pull theirs"))
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
    parser.add_argument(
        "--min-asked-share",
        type=float,
        metavar="SHARE",
        help="how much of a video that is asked about must be near one of its videos (default: 0.8)",
    )
    parser.add_argument(
        "--min-listed-share",
        type=float,
        metavar="SHARE",
        help="how much of one of its videos must be near what is asked about (default: 0)",
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
    add_approver_key(parser)
    _finish(parser, _DOCUMENT)

    parser = _command(
        commands,
        "publish",
        ("staging", "publish"),
        "make it visible",
        "Make a staged generation visible to everybody, in one step, after its segments were read back and verified.",
    )
    _add_staging_id(parser)
    _add_accept_gate(parser)
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the record")
    _finish(parser, _DOCUMENT, dry_run=True, seconds=_SECONDS_TO_PUBLISH)

    parser = _command(commands, "discard", ("staging", "discard"), "drop it")
    _add_staging_id(parser)
    _add_reason(parser)
    _finish(parser, _DOCUMENT)


def _add_accept_gate(parser: Parser) -> None:
    parser.add_argument(
        "--accept-gate",
        action="append",
        default=[],
        dest="gates",
        metavar="NAME",
        help="publish although this gate is not met; may be repeated, and needs --reason",
    )


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
    _add_accept_gate(parser)
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


def _add_opinion(commands: Any) -> None:
    parser = _command(
        commands,
        "contribute",
        ("opinions", "contribute"),
        "say what hashes are, in your own list",
        "Stage an opinion on hashes as a small delivery to your own list. It takes the place of the list's earlier\n"
        "opinion on them, once others have approved it and it is published.",
    )
    _add_opinion_on(parser)
    parser.add_argument(
        "--opinion",
        required=True,
        type=values.opinion,
        metavar="OPINION",
        help="baseline: illegal everywhere; national:XX: in jurisdiction XX; not-illegal",
    )
    _add_opinion_label(parser)

    parser = _command(
        commands,
        "dispute",
        ("opinions", "dispute"),
        "say that hashes are not illegal, against what is said of them",
        "Stage the opinion that hashes are not illegal, marked as a dispute; it is told beside what others say.",
    )
    _add_opinion_on(parser)
    _add_opinion_label(parser)

    parser = _command(commands, "withdraw", ("opinions", "withdraw"), "take your list's opinion on hashes back")
    _add_opinion_on(parser)
    _finish(parser, _DOCUMENT, dry_run=True)


def _add_opinion_on(parser: Parser) -> None:
    parser.add_argument("list_id", metavar="LIST", help="your own list")
    parser.add_argument(
        "--hashes",
        required=True,
        dest="hashes_file",
        metavar="FILE",
        help="the hashes, one a line; - is standard input",
    )
    _add_reason(parser)


def _add_opinion_label(parser: Parser) -> None:
    parser.add_argument("--label", default="", metavar="TEXT", help="the label of your own scheme")
    parser.add_argument("--scheme", default="", metavar="NAME", help="that scheme")
    _finish(parser, _DOCUMENT, dry_run=True)


def _add_history(commands: Any) -> None:
    parser = _command(commands, "history", ("lists", "history"), "show what was done, newest first")
    parser.add_argument("list_id", nargs="?", default="", metavar="LIST", help="only to this list")
    parser.add_argument(
        "--limit", type=partial(values.at_least, 1), default=50, metavar="N", help="the last N acts (default: 50)"
    )
    _finish(parser, _ROWS)


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
    if positional:
        parser.add_argument(
            "--vpdq", metavar="FILE", help="the frames of a video: a file of its vPDQ hash, as vPDQ's tools write it"
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
