"""The words of `hashmatch-admin exchange`."""

from __future__ import annotations

from functools import partial
from typing import Any

from hashmatch.admin import values
from hashmatch.admin.parsing import DOCUMENT, ROWS, Parser, add_output, command

_DAYS = 7


def add_exchange(commands: Any) -> None:
    """Publishing: `keygen`, `init`, `delegate`, `publish`, `withdraw`, `rotate`, `sign`, `release`, `show`.

    Subscribing: `subscribe`, `pull`.
    """
    parser = command(commands, "keygen", ("exchange", "keygen"), "make a key to sign a repository with")
    parser.add_argument("name", metavar="NAME", help="what the files are called: NAME.key and NAME.pub")
    parser.add_argument("--directory", default=".", metavar="DIRECTORY", help="where to write (default: here)")
    _add_passphrase(parser)
    add_output(parser, DOCUMENT)

    parser = command(
        commands,
        "init",
        ("exchange", "init"),
        "begin a repository",
        "Begin a repository in a directory, with public keys: several people's for root and targets, with thresholds,\n"
        "and one that is online, for snapshot and timestamp. It takes effect once it is signed and released.",
    )
    _add_directory(parser)
    _add_keys(parser, "--root", "root", "a public key for root; may be repeated")
    _add_threshold(parser, "--root-threshold", "how many of them sign a new root")
    _add_keys(parser, "--targets", "targets", "a public key for targets; may be repeated")
    _add_threshold(parser, "--targets-threshold", "how many of them say who publishes")
    parser.add_argument("--online", required=True, metavar="FILE", help="the public key for snapshot and timestamp")
    add_output(parser, DOCUMENT)

    parser = command(
        commands, "delegate", ("exchange", "delegate"), "let keys publish for a body, instead of those before"
    )
    _add_directory(parser)
    _add_body(parser)
    _add_keys(parser, "--key", "keys", "a public key of the body; may be repeated")
    _add_threshold(parser, "--threshold", "how many of them sign what it publishes")
    add_output(parser, DOCUMENT)

    parser = command(commands, "publish", ("exchange", "publish"), "stage a list's bundle for a body")
    _add_directory(parser)
    _add_body(parser)
    parser.add_argument("list_id", metavar="LIST", help="what others call the list")
    parser.add_argument("bundle", metavar="FILE", help="the bundle, as `hashmatch-server bundle export` wrote it")
    add_output(parser, DOCUMENT)

    parser = command(commands, "withdraw", ("exchange", "withdraw"), "take a list out of what a body publishes")
    _add_directory(parser)
    _add_body(parser)
    parser.add_argument("list_id", metavar="LIST", help="what others call the list")
    add_output(parser, DOCUMENT)

    parser = command(commands, "rotate", ("exchange", "rotate"), "change the keys of root, targets or the online roles")
    _add_directory(parser)
    parser.add_argument("role", choices=("root", "targets", "snapshot"), help="snapshot stands for timestamp too")
    parser.add_argument("--add", action="append", default=[], metavar="FILE", help="a public key; may be repeated")
    parser.add_argument(
        "--remove", action="append", default=[], metavar="ID", help="a key's id or how it begins; may be repeated"
    )
    parser.add_argument(
        "--threshold", type=partial(values.at_least, 1), metavar="N", help="how many sign (default: as before)"
    )
    add_output(parser, DOCUMENT)

    parser = command(
        commands, "sign", ("exchange", "sign"), "sign everything staged that waits for a key", "Add your signature."
    )
    _add_directory(parser)
    _add_key(parser, "your key")
    add_output(parser, DOCUMENT)

    parser = command(
        commands,
        "release",
        ("exchange", "release"),
        "put into place what is signed, and keep the repository fresh",
        "Verify that every threshold is met, put what is staged into place, and vouch for all of it. Run it well\n"
        "before the days are over, also when nothing is staged: subscribers refuse a repository that stands still.",
    )
    _add_directory(parser)
    _add_key(parser, "the online key")
    parser.add_argument(
        "--days",
        type=partial(values.at_least, 1),
        default=_DAYS,
        metavar="N",
        help=f"how long subscribers may go by it (default: {_DAYS})",
    )
    add_output(parser, DOCUMENT)

    parser = command(commands, "show", ("exchange", "show"), "show the roles of a repository, and what is staged")
    _add_directory(parser)
    add_output(parser, ROWS)

    parser = command(
        commands,
        "subscribe",
        ("exchange", "subscribe"),
        "trust another instance's repository, from its root on",
        "Make a trust state in a directory from a root that came to you by a way that you trust. It is made once:\n"
        "where it is lost or damaged later, nothing is pulled until a person decides.",
    )
    parser.add_argument("directory", metavar="STATE", help="the directory for the trust state")
    parser.add_argument("--root", required=True, metavar="FILE", help="the publisher's N.root.json")
    add_output(parser, DOCUMENT)

    parser = command(
        commands,
        "pull",
        ("exchange", "pull"),
        "pull a list once, verified, to a file",
        "Pull a list from a repository and write its bundle to a file, to be staged. A feed does it by itself.",
    )
    parser.add_argument("directory", metavar="STATE", help="the trust state that `subscribe` made")
    parser.add_argument("source", metavar="SOURCE", help="the repository: https://... or a directory")
    parser.add_argument("target", metavar="TARGET", help="the list: BODY/LIST.bundle")
    parser.add_argument("file", metavar="FILE", help="where to write; must not exist")
    parser.add_argument("--ca-file", metavar="FILE", help="PEM roots for https (default: those of browsers)")
    add_output(parser, DOCUMENT)


def _add_directory(parser: Parser) -> None:
    parser.add_argument("directory", metavar="DIRECTORY", help="the repository")


def _add_body(parser: Parser) -> None:
    parser.add_argument("body", metavar="BODY", help="the body, by its name in the repository")


def _add_key(parser: Parser, text: str) -> None:
    parser.add_argument("--key", required=True, metavar="FILE", help=text)
    _add_passphrase(parser)


def _add_keys(parser: Parser, option: str, dest: str, text: str) -> None:
    parser.add_argument(option, action="append", required=True, dest=dest, metavar="FILE", help=text)


def _add_threshold(parser: Parser, option: str, text: str) -> None:
    parser.add_argument(option, type=partial(values.at_least, 1), required=True, metavar="N", help=text)


def _add_passphrase(parser: Parser) -> None:
    parser.add_argument("--passphrase-file", metavar="FILE", help="the file that holds the key's passphrase")
