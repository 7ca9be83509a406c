"""`hashmatch-admin suppress`, `unsuppress` and `withdraw`: corrections to single hashes, which are never printed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence

from hashmatch_client import ConfigurationError, Hash, HashmatchClientError, InvalidHashError
from hashmatch_client._wire import hash_message
from hashmatch_client.cli.subjects import lines_of, subject_of_video, subjects_of_lines
from hashmatch_client.cli.text import counted

from hashmatch.admin.connection import connect
from hashmatch.admin.exits import Exit
from hashmatch.admin.output import in_epoch, outcome, print_result
from hashmatch.admin.proposing import act_or_propose
from hashmatch.v1 import common_pb2
from hashmatch.v1 import list_admin_service_pb2 as pb

# The most of either that the contract allows in a call.
_BATCH = 1_000
# How many bad hashes are named before the others are only counted.
_NAMED = 5


def suppress(arguments: Namespace) -> Exit:
    """`suppress`."""
    hashes = _given(arguments)
    with connect(arguments) as client:

        def act(batch: Sequence[common_pb2.Hash]) -> tuple[int, int] | None:
            request = pb.SuppressRequest(
                hashes=batch, list_ids=arguments.list_ids, reason=arguments.reason, validate_only=arguments.dry_run
            )
            response = act_or_propose(arguments, client, client.service.Suppress, request, suppress=request)
            return None if response is None else (response.epoch, response.newly_suppressed)

        done_so_far = _in_batches(hashes, act)
    if done_so_far is None:
        return Exit.PROPOSED
    epoch, changed = done_so_far
    where = ", ".join(arguments.list_ids) or "every list"
    document = outcome(arguments, epoch) | {
        "hashes": len(hashes),
        "newly_suppressed": changed,
        "lists": arguments.list_ids,
    }
    done = "Would suppress" if arguments.dry_run else "Suppressed"
    new = f"{changed:,} of them newly{in_epoch(arguments, epoch)}"
    print_result(arguments, document, f"{done} {counted(len(hashes), 'hash', 'hashes')} in {where}: {new}.")
    return Exit.DONE


def unsuppress(arguments: Namespace) -> Exit:
    """`unsuppress`."""
    hashes = _given(arguments)
    with connect(arguments) as client:

        def act(batch: Sequence[common_pb2.Hash]) -> tuple[int, int] | None:
            request = pb.LiftSuppressionRequest(hashes=batch, reason=arguments.reason, validate_only=arguments.dry_run)
            response = act_or_propose(
                arguments, client, client.service.LiftSuppression, request, lift_suppression=request
            )
            return None if response is None else (response.epoch, response.lifted)

        done_so_far = _in_batches(hashes, act)
    if done_so_far is None:
        return Exit.PROPOSED
    epoch, changed = done_so_far
    document = outcome(arguments, epoch) | {"hashes": len(hashes), "lifted": changed}
    done = "Would lift" if arguments.dry_run else "Lifted"
    what = f"the suppression of {changed:,} of {counted(len(hashes), 'hash', 'hashes')}"
    print_result(arguments, document, f"{done} {what}{in_epoch(arguments, epoch)}.")
    return Exit.DONE


def withdraw(arguments: Namespace) -> Exit:
    """`withdraw`. In one call: each makes a generation, and takes the place of one that could be rolled back to."""
    hashes = _valid(_from_file(arguments.hashes_file)) if arguments.hashes_file else ()
    keys = tuple(dict.fromkeys(arguments.keys))
    if not hashes and not keys:
        raise ConfigurationError("give --hashes FILE or --key KEY")
    if len(hashes) > _BATCH or len(keys) > _BATCH:
        raise ConfigurationError(f"at most {_BATCH:,} hashes and {_BATCH:,} keys: stage a delivery to remove more")
    with connect(arguments) as client:
        request = pb.WithdrawEntriesRequest(
            list_id=arguments.list_id,
            hashes=map(hash_message, hashes),
            source_keys=keys,
            reason=arguments.reason,
            validate_only=arguments.dry_run,
        )
        response = act_or_propose(arguments, client, client.service.WithdrawEntries, request, withdraw_entries=request)
    if response is None:
        return Exit.PROPOSED
    document = outcome(arguments, response.epoch) | {
        "list": arguments.list_id,
        "generation": response.generation,
        "removed": response.removed,
        "not_listed": response.not_listed,
    }
    done = "Would remove" if arguments.dry_run else "Removed"
    missing = f"; {response.not_listed:,} of what was given it did not have" if response.not_listed else ""
    what = f"{counted(response.removed, 'hash', 'hashes')} from {arguments.list_id}{missing}"
    made = f"generation {response.generation}{in_epoch(arguments, response.epoch)}"
    print_result(arguments, document, f"{done} {what}: {made}.")
    return Exit.DONE


def hashes_in_file(source: str) -> list[common_pb2.Hash]:
    """The hashes in a file, each once; `-` is standard input. Raises `InvalidHashError` if any is bad."""
    return [hash_message(each) for each in _valid(_from_file(source))]


def _in_batches(
    hashes: Sequence[common_pb2.Hash], act: Callable[[Sequence[common_pb2.Hash]], tuple[int, int] | None]
) -> tuple[int, int] | None:
    """Acts on as many hashes at a time as a call takes; returns the last epoch and the sum of what was changed.

    None if that was proposed instead, in as many proposals.
    """
    epoch = changed = 0
    proposed = False
    for start in range(0, len(hashes), _BATCH):
        try:
            outcome_of_batch = act(hashes[start : start + _BATCH])
        except HashmatchClientError as error:
            if start:
                error.add_note(f"the first {start:,} of {len(hashes):,} hashes are done")
            raise
        if outcome_of_batch is None:
            proposed = True
            continue
        epoch = outcome_of_batch[0]
        changed += outcome_of_batch[1]
    return None if proposed else (epoch, changed)


def _given(arguments: Namespace) -> list[common_pb2.Hash]:
    """The hashes in the arguments or in the file that they name, each once; of a video those of its frames."""
    if len([each for each in (arguments.hashes, arguments.hashes_file, arguments.vpdq) if each]) != 1:
        raise ConfigurationError("give either --hashes FILE, --vpdq FILE or HASH arguments")
    if arguments.vpdq:
        return _frames(arguments.vpdq)
    found = _from_file(arguments.hashes_file) if arguments.hashes_file else _from_arguments(arguments.hashes)
    hashes = _valid(found)
    if not hashes:
        raise ConfigurationError("no hash was given")
    return [hash_message(each) for each in hashes]


def _frames(path: str) -> list[common_pb2.Hash]:
    subject = subject_of_video(path)
    if subject.item is None:
        raise InvalidHashError(f"{path}: {subject.problem}; nothing was sent")
    codes = dict.fromkeys(frame.pdq for each in subject.item.hashes for frame in each.frames)
    return [common_pb2.Hash(algorithm=common_pb2.ALGORITHM_VPDQ, value=code) for code in codes]


def _from_file(source: str) -> Iterator[Hash | str]:
    """The hashes in a file; for a line without one, what is wrong and where."""
    with lines_of(source) as lines:
        for subject in subjects_of_lines(lines, "stdin" if source == "-" else source):
            if subject.item is None:
                yield f"{subject.reference}: {subject.problem}"
            else:
                yield from subject.item.hashes


def _from_arguments(texts: Iterable[str]) -> Iterator[Hash | str]:
    for number, text in enumerate(texts, start=1):
        try:
            yield Hash.from_hex(text)
        except InvalidHashError as error:
            yield f"HASH {number}: {error}"


def _valid(found: Iterable[Hash | str]) -> tuple[Hash, ...]:
    """The hashes, each once. Raises `InvalidHashError` if any is bad: half of a correction is none."""
    hashes: dict[Hash, None] = {}
    problems: list[str] = []
    bad = 0
    for each in found:
        if isinstance(each, Hash):
            hashes[each] = None
        else:
            bad += 1
            problems += [each] if bad <= _NAMED else []
    if bad > _NAMED:
        problems.append(f"and {bad - _NAMED:,} more")
    if problems:
        raise InvalidHashError("; ".join([*problems, "nothing was sent"]))
    return tuple(hashes)
