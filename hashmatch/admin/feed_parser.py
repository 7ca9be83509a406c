"""The words of the commands about feeds."""

from __future__ import annotations

from typing import Any

from hashmatch.admin.parsing import DOCUMENT, ROWS, Parser, command, finish

_VOTED = ("md5", "sha1", "photodna", "pdq")
# As long as staging what a body published may take.
_SECONDS_TO_RUN = 3_600


def add_feed(commands: Any) -> None:
    """`feed run`, `feed status` and `feed feedback`."""
    parser = command(
        commands,
        "run",
        ("feeds", "run"),
        "pull what a body published, now",
        "Read everything that the body of a feed published since the list's checkpoint, and stage it as one delivery.\n"
        "It goes on in the server if this command is interrupted. While an earlier round waits to be published,\n"
        "nothing is read.",
    )
    _add_name(parser)
    parser.add_argument("--full", action="store_true", help="read everything anew; drops a round that waits")
    parser.add_argument("--drop-waiting", action="store_true", help="drop a round that waits, and read again")
    finish(parser, DOCUMENT, seconds=_SECONDS_TO_RUN)

    parser = command(commands, "status", ("feeds", "status"), "show how the feeds stand")
    parser.add_argument("--feed", default="", dest="name", metavar="NAME", help="only this one")
    finish(parser, ROWS)

    parser = command(
        commands,
        "feedback",
        ("feeds", "feedback"),
        "tell a body that an entry is right or wrong",
        "Tell the body of a feed, in its own form, what you think of an entry. NCMEC needs --key, --algorithm and,\n"
        "for a negative vote, --reason-id; StopNCII needs --hashes; ThreatExchange needs --key.",
    )
    _add_name(parser)
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
    finish(parser, DOCUMENT)


def _add_name(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="the feed; `feed status` names them")
