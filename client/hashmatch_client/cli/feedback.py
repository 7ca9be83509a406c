"""`hashmatch feedback`: says of matches that they are right, or wrong and why."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Iterator

from hashmatch_client import HashmatchClient
from hashmatch_client._errors import ConfigurationError, InvalidHashError
from hashmatch_client._feedback import DisputeReason, FeedbackOutcome, HitFeedback, Judgement
from hashmatch_client._hashes import Hash
from hashmatch_client.cli.connect import connect
from hashmatch_client.cli.exits import Exit
from hashmatch_client.cli.subjects import lines_of, subject_of_video, subjects_of_lines

_WORDS = {
    FeedbackOutcome.RECORDED: "recorded",
    FeedbackOutcome.UNCHANGED: "said before",
    FeedbackOutcome.NO_MATCH: "no match in this list",
    FeedbackOutcome.NOT_DETERMINED: "not determined",
    FeedbackOutcome.UNRECOGNISED: "not understood",
}


def feedback(arguments: Namespace) -> Exit:
    """`feedback`."""
    judgement, reason = _judgement(arguments)
    hashes = list(dict.fromkeys(_hashes(arguments)))
    if not hashes:
        raise ConfigurationError("no hash was given")
    stated = [HitFeedback(each, arguments.list_id, judgement, reason, arguments.note) for each in hashes]
    client: HashmatchClient
    with connect(arguments) as client:
        counts = Counter(client.report_feedback(stated))
    print(", ".join(f"{counts[outcome]:,} {words}" for outcome, words in _WORDS.items() if counts[outcome]))
    if counts[FeedbackOutcome.NOT_DETERMINED]:
        return Exit.NOT_DETERMINED
    return (
        Exit.FAILED if counts[FeedbackOutcome.NO_MATCH] or counts[FeedbackOutcome.UNRECOGNISED] else Exit.NOTHING_KNOWN
    )


def _judgement(arguments: Namespace) -> tuple[Judgement, DisputeReason | None]:
    if arguments.dispute:
        return Judgement.DISPUTED, DisputeReason[arguments.dispute.upper().replace("-", "_")]
    return (Judgement.CONFIRMED if arguments.confirm else Judgement.WITHDRAWN), None


def _hashes(arguments: Namespace) -> Iterator[Hash]:
    """The hashes that are given. Raises `InvalidHashError` if any is bad: half of what was meant is not said."""
    if arguments.vpdq:
        subjects = (subject_of_video(path) for path in arguments.vpdq)
        found = list(subjects)
    else:
        with lines_of(arguments.hashes) as lines:
            found = list(subjects_of_lines(lines, "stdin" if arguments.hashes == "-" else arguments.hashes))
    for subject in found:
        if subject.item is None:
            raise InvalidHashError(f"{subject.reference}: {subject.problem}; nothing was said")
        yield from subject.item.hashes
