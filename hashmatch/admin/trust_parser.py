"""The words of the commands about trust: certificates, approvals, what callers say, the policy, the audit log."""

from __future__ import annotations

from functools import partial
from typing import Any

from hashmatch.admin import values
from hashmatch.admin.parsing import DOCUMENT, ROWS, Parser, add_output, add_reason, command, finish

_DAYS = 90
_APPROVER_DAYS = 365
_SHOWN = 100
# As long as withdrawing entries may take.
_SECONDS_TO_CARRY_OUT = 900
_KINDS = ("server", "client", "operator")


def add_pki(commands: Any) -> None:
    """`pki init` and `pki issue`."""
    parser = command(
        commands,
        "init",
        ("pki", "init"),
        "make authorities and the first certificates",
        "Make a working public key infrastructure for a trial: one authority each for servers, clients and operators,\n"
        "a server's certificate, a client's, and three operators'. It prints what to set where. Whoever can read the\n"
        "directory `authorities` can be anybody: for anything but a trial use your own authority.",
    )
    parser.add_argument("directory", metavar="DIRECTORY", help="where to write; it must not exist")
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        dest="hosts",
        metavar="NAME",
        help="a DNS name or address of the server; may be repeated (default: localhost and 127.0.0.1)",
    )
    parser.add_argument(
        "--domain",
        default="hashmatch.test",
        metavar="NAME",
        help="the trust domain: callers are spiffe://NAME/clients/... (default: hashmatch.test)",
    )
    _finish(parser)

    parser = command(
        commands,
        "issue",
        ("pki", "issue"),
        "make one more certificate",
        "Make one more certificate with the authorities that `pki init` made.",
    )
    parser.add_argument("directory", metavar="DIRECTORY", help="what `pki init` made")
    parser.add_argument("kind", choices=_KINDS, metavar="KIND", help=f"who it is for: {', '.join(_KINDS)}")
    parser.add_argument("name", metavar="NAME", help="what the files are called, and the last part of the caller's URI")
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        dest="hosts",
        metavar="NAME",
        help="for a server: a DNS name or address; may be repeated (default: NAME)",
    )
    parser.add_argument("--uri", metavar="URI", help="for a client or operator: its URI, if not the usual one")
    _finish(parser)


def add_approve(commands: Any) -> None:
    """`approve`."""
    parser = command(
        commands,
        "approve",
        ("approvals", "approve"),
        "sign what somebody staged or proposed",
        "Show a staged generation's report, or a proposal, ask, and approve exactly that. The signature is made here,\n"
        "with the key of an enrolled approver; the key goes nowhere. Who staged or proposed it cannot approve it.",
    )
    parser.add_argument("id", metavar="ID", help="of what was staged or proposed")
    parser.add_argument("--yes-i-read-it", action="store_true", dest="yes", help="show it and do not ask")
    parser.add_argument("--note", default="", metavar="TEXT", help="a note for the record")
    add_approver_key(parser)
    finish(parser, DOCUMENT)


def add_approver_key(parser: Parser) -> None:
    """Adds what an approver signs with."""
    parser.add_argument("--approver-key", metavar="FILE", help="the approver's key, as `approver keygen` wrote it")
    parser.add_argument("--passphrase-file", metavar="FILE", help="the file that holds the key's passphrase")


def add_proposal(commands: Any) -> None:
    """`proposal list`, `show`, `carry-out` and `discard`."""
    parser = command(commands, "list", ("approvals", "show_all"), "show what is proposed and not carried out")
    finish(parser, ROWS)

    parser = command(commands, "show", ("approvals", "show"), "show a proposal and what to do next")
    _add_proposal_id(parser)
    parser.add_argument("--hashes-to", metavar="FILE", help="write the hashes in it to a file, which must not exist")
    finish(parser, DOCUMENT)

    parser = command(
        commands,
        "carry-out",
        ("approvals", "carry_out"),
        "have a proposal take effect",
        "Have a proposal take effect. Its approvals are verified once more: an approver who was revoked stops it.",
    )
    _add_proposal_id(parser)
    finish(parser, DOCUMENT, dry_run=True, seconds=_SECONDS_TO_CARRY_OUT)

    parser = command(commands, "discard", ("approvals", "discard"), "drop a proposal")
    _add_proposal_id(parser)
    add_reason(parser)
    finish(parser, DOCUMENT)


def add_approver(commands: Any) -> None:
    """`approver keygen`, `enrol`, `revoke` and `list`."""
    parser = command(
        commands,
        "keygen",
        ("approvers", "keygen"),
        "make a key to approve with",
        "Make a key, on the machine of whoever will approve with it, and an enrolment that says whose it is.",
    )
    parser.add_argument("name", metavar="NAME", help="the approver: a-z 0-9 . _ -, starting with a letter or digit")
    parser.add_argument(
        "--identity",
        required=True,
        metavar="URI",
        help="the URI in the approver's certificate, or loopback:NAME on a server without TLS",
    )
    parser.add_argument("--directory", default=".", metavar="DIRECTORY", help="where to write (default: here)")
    parser.add_argument(
        "--days",
        type=partial(values.at_least, 1),
        default=_APPROVER_DAYS,
        metavar="N",
        help=f"for how long approvals count (default: {_APPROVER_DAYS})",
    )
    parser.add_argument("--passphrase-file", metavar="FILE", help="encrypt the key with the passphrase in this file")
    add_output(parser, DOCUMENT)

    parser = command(
        commands, "enrol", ("approvers", "enrol"), "propose that somebody can approve", "Propose to enrol an approver."
    )
    parser.add_argument("file", metavar="FILE", help="the enrolment that `approver keygen` wrote")
    add_reason(parser)
    finish(parser, DOCUMENT)

    parser = command(
        commands,
        "revoke",
        ("approvers", "revoke"),
        "propose that somebody can no longer approve",
        "Propose to revoke an approver. What they approved and has not taken effect then needs somebody else.",
    )
    parser.add_argument("name", metavar="NAME", help="the approver")
    add_reason(parser)
    finish(parser, DOCUMENT)

    parser = command(commands, "list", ("approvers", "show_all"), "show who can approve")
    finish(parser, ROWS)


def _add_proposal_id(parser: Parser) -> None:
    parser.add_argument("id", metavar="ID", help="the id that proposing gave")


def add_policy(commands: Any) -> None:
    """`policy check`, `policy activate` and `policy show`."""
    parser = command(
        commands,
        "check",
        ("policy", "check"),
        "check a policy where it is written",
        "Check a policy document, without a server. All that is wrong is named.",
    )
    _add_document(parser)
    add_output(parser, DOCUMENT)

    parser = command(
        commands,
        "activate",
        ("policy", "activate"),
        "put a policy in force",
        "Put a policy in force on every server at once. Its version must be greater than the one in force.",
    )
    _add_document(parser)
    add_reason(parser)
    finish(parser, DOCUMENT, dry_run=True)

    parser = command(commands, "show", ("policy", "show"), "show the policy in force")
    finish(parser, DOCUMENT)


def add_feedback(commands: Any) -> None:
    """`feedback list` and `feedback settle`."""
    parser = command(
        commands,
        "list",
        ("feedback", "show"),
        "show what callers say of matches",
        "Show what callers say of matches: disputes first, then the newest.",
    )
    _add_selection(parser)
    parser.add_argument("--disputes", action="store_true", help="only disputes")
    finish(parser, ROWS)

    parser = command(
        commands,
        "settle",
        ("feedback", "settle"),
        "keep what callers said no longer",
        "Keep what callers said no longer, once it was looked into: no answer tells it any more. The list stays as it\n"
        "is; to change that, suppress or withdraw the entry.",
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help="what `feedback list` gave")
    add_reason(parser)
    finish(parser, DOCUMENT)


def add_floods(commands: Any) -> None:
    """`floods list`."""
    parser = command(
        commands,
        "list",
        ("floods", "show"),
        "show which entries suddenly match far more than before",
        "Show the entries that within the last week suddenly matched far more often than before, the latest first.\n"
        "Such an entry may be right, or should not be listed: an empty file, a logo, something put there on purpose.",
    )
    _add_selection(parser)
    parser.add_argument(
        "--hashes-to",
        metavar="FILE",
        help="write the listed hashes to FILE, which must not exist, for `suppress --hashes`; the audit log says so",
    )
    finish(parser, ROWS)


def _add_selection(parser: Parser) -> None:
    parser.add_argument("--list", default="", dest="list_id", metavar="LIST", help="only of this list")
    parser.add_argument(
        "--limit",
        type=partial(values.at_least, 1),
        default=_SHOWN,
        metavar="N",
        help=f"at most N (default: {_SHOWN}; the most: 1000)",
    )


def add_audit(commands: Any) -> None:
    """`audit verify`, `audit show` and `audit keygen`."""
    parser = command(
        commands,
        "verify",
        ("audit", "verify"),
        "verify the chain of an audit log, or of all of a server",
        "Verify that every record of an audit log follows from the one before: a line that was changed, moved, cut or\n"
        "taken out is named by file and line. Nothing in the log can tell that its end was changed or cut off; a mark\n"
        "that was printed before can, and so can a checkpoint that the server signed, if they are kept elsewhere.\n"
        "Of a data directory all logs are verified; with --key-of-server each is held against its checkpoint.",
    )
    _add_log(parser)
    parser.add_argument(
        "--mark", metavar="NUMBER:SHA-256", help="what an earlier run printed: that record must be there"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="a checkpoint of this log that was kept; for all logs a directory of them (default: that of the server)",
    )
    parser.add_argument("--key-of-server", metavar="KEY", help="the public key that it is signed with, NAME+ID+KEY")
    add_output(parser, DOCUMENT)

    parser = command(
        commands,
        "keygen",
        ("audit", "keygen"),
        "make the key that a server signs checkpoints and receipts with",
    )
    parser.add_argument("file", metavar="FILE", help="where to write the private key; it must not exist")
    parser.add_argument(
        "--name", required=True, metavar="NAME", help="what the key is known as, for example example.org/server-1"
    )
    add_output(parser, DOCUMENT)

    parser = command(
        commands,
        "show",
        ("audit", "show"),
        "show the records of an audit log, newest first",
    )
    _add_log(parser)
    parser.add_argument("--act", default="", metavar="ACT", help="only this act, for example publish")
    parser.add_argument("--actor", default="", metavar="NAME", help="only what this one did")
    parser.add_argument(
        "--limit", type=partial(values.at_least, 1), default=50, metavar="N", help="the last N records (default: 50)"
    )
    add_output(parser, ROWS)


def _add_log(parser: Parser) -> None:
    parser.add_argument(
        "log",
        metavar="LOG",
        help="the data directory of a server; or in it audit.jsonl, or of answers, a directory below answers",
    )


def _add_document(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="the document, TOML; - is standard input")


def _finish(parser: Parser) -> None:
    parser.add_argument(
        "--days",
        type=partial(values.at_least, 1),
        default=_DAYS,
        metavar="N",
        help=f"for how long certificates are good (default: {_DAYS})",
    )
    add_output(parser, DOCUMENT)
