"""`hashmatch-admin feed`: running feeds, how they stand, and feedback to their bodies."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from hashmatch_client import ConfigurationError, ProtocolViolationError
from hashmatch_client.cli.text import Cell, counted, words

from hashmatch.admin.connection import connect
from hashmatch.admin.documents import feed_document, feed_outcome, instant
from hashmatch.admin.entries import hashes_in_file
from hashmatch.admin.exits import Exit
from hashmatch.admin.output import print_result, print_rows
from hashmatch.v1 import common_pb2
from hashmatch.v1 import list_admin_service_pb2 as pb

_COLUMNS = (
    "feed",
    "kind",
    "list",
    "interval_seconds",
    "running",
    "outcome",
    "failure",
    "detail",
    "started_at",
    "ended_at",
    "succeeded_at",
    "failed_rounds",
    "full",
    "pages",
    "records",
    "staging_id",
    "waiting_staging_id",
    "published_read_at",
    "due_at",
)


def run(arguments: Namespace) -> Exit:
    """`feed run`."""
    with connect(arguments) as client:
        request = pb.RunFeedRequest(name=arguments.name, full=arguments.full, drop_waiting=arguments.drop_waiting)
        feed = client.act(client.service.RunFeed, request).feed
    print_result(arguments, feed_document(feed), *_sentences(feed))
    return Exit.FAILED if feed.outcome == pb.FEED_OUTCOME_FAILED else Exit.DONE


def status(arguments: Namespace) -> Exit:
    """`feed status`."""
    with connect(arguments) as client:
        feeds = client.ask(client.service.GetFeeds, pb.GetFeedsRequest(name=arguments.name)).feeds
    print_rows(
        arguments,
        "feeds",
        [feed_document(feed) for feed in feeds],
        table=lambda: _table(feeds, no_color=arguments.no_color),
        columns=_COLUMNS,
    )
    return Exit.DONE


def feedback(arguments: Namespace) -> Exit:
    """`feed feedback`."""
    request = pb.SendFeedFeedbackRequest(
        name=arguments.name,
        opinion=pb.FeedbackOpinion.Value(f"FEEDBACK_OPINION_{arguments.opinion.upper()}"),
        source_key=arguments.key,
        hash=_hash(arguments),
        reason_id=arguments.reason_id,
        tags=arguments.tags,
    )
    with connect(arguments) as client:
        client.act(client.service.SendFeedFeedback, request)
    document = {"feed": arguments.name, "opinion": arguments.opinion}
    print_result(arguments, document, f"The body of {arguments.name} took the {arguments.opinion} feedback.")
    return Exit.DONE


def _hash(arguments: Namespace) -> common_pb2.Hash | None:
    """The hash that is meant. Sixty-four digits could be more than one algorithm's: --algorithm says whose they are."""
    algorithm = None
    if arguments.algorithm:
        algorithm = common_pb2.Algorithm.Value(f"ALGORITHM_{arguments.algorithm.upper()}")
    if not arguments.hashes_file:
        return None if algorithm is None else common_pb2.Hash(algorithm=algorithm)
    found = hashes_in_file(arguments.hashes_file)
    if len(found) != 1:
        raise ConfigurationError(f"feedback is on one hash: the file has {counted(len(found), 'hash', 'hashes')}")
    if algorithm is not None:
        found[0].algorithm = algorithm
    return found[0]


def _sentences(feed: pb.Feed) -> list[str]:
    what = "everything" if feed.full else "what changed"
    read = f"{what}: {counted(feed.records, 'record')} on {counted(feed.pages, 'page')}"
    then = f" ({feed.detail})" if feed.detail else ""
    match feed.outcome:
        case pb.FEED_OUTCOME_STAGED:
            next_step = f"Next: hashmatch-admin staging show {feed.staging_id}"
            return [f"Read {read}. Staged as {feed.staging_id}{then}.", next_step]
        case pb.FEED_OUTCOME_PUBLISHED:
            return [f"Read {read}. Published."]
        case pb.FEED_OUTCOME_WAITING:
            waits = f"Read nothing: {feed.staging_id} waits to be published{then}."
            return [waits, f"Next: hashmatch-admin staging show {feed.staging_id}"]
        case pb.FEED_OUTCOME_FAILED:
            return [f"Failed ({feed.failure}): {feed.detail}. Nothing was staged."]
    raise ProtocolViolationError("the server answered without an outcome", "")


def _table(feeds: Sequence[pb.Feed], *, no_color: bool) -> None:
    from hashmatch_client.cli.tables import print_table

    columns = ("Feed", "List", "Last round", "Outcome", "Records", "Published as of", "Waiting", "Next")
    print_table(columns, map(_row, feeds), no_color=no_color, numbers=("Records",))


def _row(feed: pb.Feed) -> tuple[Cell, ...]:
    outcome: Cell = words(feed_outcome(feed)) or "never ran"
    if feed.outcome == pb.FEED_OUTCOME_FAILED:
        times = f" ×{feed.failed_rounds}" if feed.failed_rounds > 1 else ""
        outcome = (f"failed{times}: {feed.failure}", "stale")
    following = "running" if feed.running else instant(feed, "due_at") or "at once"
    return (
        feed.name,
        feed.list_id,
        instant(feed, "started_at"),
        outcome,
        f"{feed.records:,}",
        instant(feed, "published_read_at"),
        feed.waiting_staging_id,
        "once published" if feed.waiting_staging_id else following,
    )
