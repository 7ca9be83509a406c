"""`hashmatch check`: from paths or hashes to a report."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from hashmatch_client._errors import ConfigurationError, HashmatchClientError, NotPermittedError
from hashmatch_client._hashes import Algorithm, Item
from hashmatch_client._results import ItemAnswer
from hashmatch_client._sync import HashmatchClient
from hashmatch_client.cli.asking import Tally, ask_about
from hashmatch_client.cli.connect import connect
from hashmatch_client.cli.exits import Exit
from hashmatch_client.cli.progress import Progress, progress
from hashmatch_client.cli.receipts import saving_to
from hashmatch_client.cli.reports import CsvReport, JsonLinesReport, JsonReport, Report, TableReport, summary
from hashmatch_client.cli.subjects import (
    NOT_A_PICTURE,
    PICTURE_NOT_HASHED,
    UNREADABLE_FILE,
    Subject,
    lines_of,
    subject_of_file,
    subject_of_video,
    subjects_of_lines,
)
from hashmatch_client.cli.text import counted
from hashmatch_client.hashing import (
    DEFAULT_ALGORITHMS,
    FILE_ALGORITHMS,
    UnreadableFile,
    Walk,
    hash_files,
    images_available,
)


def check(arguments: Namespace) -> Exit:
    """Runs the command."""
    if len([each for each in (arguments.paths, arguments.hashes, arguments.vpdq) if each]) != 1:
        raise ConfigurationError("give either a PATH, --hashes FILE or --vpdq FILE")
    return _dry_run(arguments) if arguments.dry_run else _check(arguments)


def _check(arguments: Namespace) -> Exit:
    report = _report(arguments)
    tally = Tally()
    with ExitStack() as resources:
        saving = saving_to(arguments.save_answers) if arguments.save_answers else None
        client = resources.enter_context(connect(arguments, saving))
        shown = resources.enter_context(_progress(arguments))
        subjects = resources.enter_context(_subjects(arguments, lambda: _algorithms(arguments, client, shown), shown))

        def ask(items: Sequence[Item]) -> list[ItemAnswer]:
            return client.match_items(
                items,
                lists=arguments.lists,
                min_sources=arguments.min_sources,
                newer_than_epoch=arguments.newer_than_epoch,
            )

        try:
            for batch in ask_about(subjects, ask, time.monotonic):
                for checked in batch:
                    tally.add(checked)
                    report.add(checked)
                sys.stdout.flush()
                shown.advance(len(batch), sum(checked.subject.weight for checked in batch))
        except BrokenPipeError:
            # Nobody reads any more.
            raise
        except (HashmatchClientError, OSError):
            # What was found before is found: a full disk, say, takes nothing of it back.
            report.break_off(tally)
            shown.warn(f"stopped after {counted(tally.items, 'item')}; nothing is known of the others")
            raise
    report.finish(tally)
    if not tally.items:
        _say(arguments, "there was nothing to check")
    elif arguments.output != "table":
        _say(arguments, summary(tally))
    return tally.exit


def _dry_run(arguments: Namespace) -> Exit:
    algorithms: Counter[str] = Counter()
    items = unasked = weight = 0
    with (
        _progress(arguments) as shown,
        _subjects(arguments, lambda: arguments.algorithms or _usual_algorithms(), shown) as subjects,
    ):
        for subject in subjects:
            weight += subject.weight
            shown.advance(1, subject.weight)
            if subject.item is None:
                unasked += 1
            else:
                items += 1
                algorithms.update(each.algorithm.value for each in subject.item.hashes)
    if arguments.output == "table":
        hashes = ", ".join(f"{number:,} {name}" for name, number in algorithms.items()) or "none"
        print(
            f"would ask about {counted(items, 'item')} with {counted(algorithms.total(), 'hash', 'hashes')}: {hashes}"
        )
        print(f"could not ask about {counted(unasked, 'item')}")
    else:
        print(json.dumps({"items": items, "not_determined": unasked, "bytes": weight, "hashes": dict(algorithms)}))
    return Exit.NOT_DETERMINED if unasked else Exit.NOTHING_KNOWN


@contextmanager
def _subjects(
    arguments: Namespace, algorithms: Callable[[], Sequence[Algorithm]], shown: Progress
) -> Iterator[Iterator[Subject]]:
    """What is to be asked about; says what could not be read as it comes by."""
    if arguments.hashes:
        with lines_of(arguments.hashes) as lines:
            name = "stdin" if arguments.hashes == "-" else arguments.hashes
            yield _warned(subjects_of_lines(lines, name), shown)
        return
    if arguments.vpdq:
        yield _warned(map(subject_of_video, arguments.vpdq), shown)
        return
    # What Pillow would say of odd pictures, and where its code says it, is no line for standard error.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    walk = Walk(arguments.paths, follow_symlinks=arguments.follow_symlinks)
    with hash_files(walk, algorithms(), jobs=arguments.jobs, follow_symlinks=arguments.follow_symlinks) as files:
        yield _warned(map(subject_of_file, files), shown)
        if walk.skipped and not arguments.quiet:
            skipped = counted(walk.skipped, "symbolic link or special file", "symbolic links and special files")
            shown.warn(f"passed over {skipped}")


def _warned(subjects: Iterator[Subject], shown: Progress) -> Iterator[Subject]:
    for subject in subjects:
        if subject.item is not None:
            if subject.problem:
                shown.warn(f"{subject.reference}: {subject.problem}")
        elif subject.reason in (PICTURE_NOT_HASHED, NOT_A_PICTURE):
            shown.warn(f"{subject.reference}: not determined: {subject.problem}")
        else:
            what = "cannot read it" if subject.reason == UNREADABLE_FILE else "no valid hash"
            shown.warn(f"{subject.reference}: not determined: {what}: {subject.problem}")
        yield subject


def _usual_algorithms() -> Sequence[Algorithm]:
    """What is computed where nobody can say what the lists carry."""
    return (*DEFAULT_ALGORITHMS, Algorithm.PDQ) if images_available() else DEFAULT_ALGORITHMS


def _algorithms(arguments: Namespace, client: HashmatchClient, shown: Progress) -> Sequence[Algorithm]:
    """The algorithms that were named, or those that the lists in scope carry. Says what it has to leave out."""
    if arguments.algorithms:
        named: Sequence[Algorithm] = arguments.algorithms
        return named
    try:
        carried = {
            algorithm
            for each in client.lists()
            if each.generation is not None and (not arguments.lists or each.list_id in arguments.lists)
            for algorithm, number in each.generation.counts.items()
            if number
        }
    except NotPermittedError:  # who may match need not be allowed to see the lists
        carried = set()
    if Algorithm.PDQ in carried and not images_available():
        carried.remove(Algorithm.PDQ)
        shown.warn("left out PDQ, so altered pictures are not found: pip install 'hashmatch[images]'")
    return [algorithm for algorithm in FILE_ALGORITHMS if algorithm in carried] or _usual_algorithms()


@contextmanager
def _progress(arguments: Namespace) -> Iterator[Progress]:
    on_terminal = sys.stderr.isatty() and not (arguments.output != "table" and sys.stdout.isatty())
    total = None if arguments.hashes == "-" else lambda: _total(arguments)
    with progress(show=on_terminal and not arguments.quiet, no_color=arguments.no_color, total=total) as shown:
        yield shown


def _total(arguments: Namespace) -> int:
    """How many bytes will be read, as far as that can be told."""
    if arguments.hashes or arguments.vpdq:
        return sum(map(_size, arguments.vpdq or [arguments.hashes]))
    walk = Walk(arguments.paths, follow_symlinks=arguments.follow_symlinks)
    return sum(_size(path) for path in walk if not isinstance(path, UnreadableFile))


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - millions of them
    except OSError:
        return 0


def _report(arguments: Namespace) -> Report:
    match arguments.output:
        case "json":
            return JsonReport(with_hashes=arguments.with_hashes)
        case "jsonl":
            return JsonLinesReport(with_hashes=arguments.with_hashes)
        case "csv":
            return CsvReport(with_hashes=arguments.with_hashes)
        case _:
            return TableReport(show_all=arguments.all, no_color=arguments.no_color)


def _say(arguments: Namespace, text: str) -> None:
    if not arguments.quiet:
        print(f"hashmatch: {text}", file=sys.stderr)
