"""The words of the commands about trust: certificates, the policy, the audit log."""

from __future__ import annotations

from functools import partial
from typing import Any

from hashmatch.admin import values
from hashmatch.admin.parsing import DOCUMENT, ROWS, Parser, add_output, add_reason, command, finish

_DAYS = 90
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


def add_audit(commands: Any) -> None:
    """`audit verify` and `audit show`."""
    parser = command(
        commands,
        "verify",
        ("audit", "verify"),
        "verify the chain of an audit log",
        "Verify that every record of an audit log follows from the one before: a changed, moved or missing line is\n"
        "found. Nothing in the log can tell that its end was changed or cut off; the mark that is printed can, if\n"
        "it is kept elsewhere.",
    )
    _add_log(parser)
    parser.add_argument(
        "--mark", metavar="NUMBER:SHA-256", help="what an earlier run printed: that record must be there"
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
    parser.add_argument("file", metavar="FILE", help="the log, audit.jsonl in the data directory of the server")


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
