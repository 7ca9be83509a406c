"""What the requests of administration say, checked and in types of the model."""

from __future__ import annotations

from collections.abc import Iterable

from hashmatch.ingest.entry_hashes import EntryHash
from hashmatch.ingest.feeds.feedback import Feedback, FeedbackOpinion
from hashmatch.ingest.staging import DeliveryHeader
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.errors import ErrorReason, HashmatchError, invalid_field
from hashmatch.model.lists import ListDefinition, ListNature, check_list_id
from hashmatch.model.vetting import DeliveryMode
from hashmatch.model.videos import ASKED_SHARE, LISTED_SHARE
from hashmatch.service import messages
from hashmatch.v1 import common_pb2, list_admin_service_pb2, list_service_pb2

MAXIMUM_HASHES = 1_000
MAXIMUM_SOURCE_KEY = 1_024


def delivery_header(message: list_admin_service_pb2.StageHeader, staged_by: str) -> DeliveryHeader:
    """What a delivery is, staged by `staged_by`. Raises `HashmatchError` INVALID_FIELD."""
    check_list_id(message.list_id)
    try:
        mode = DeliveryMode(message.mode)
    except ValueError:
        raise invalid_field("header.mode", "say whether the delivery is full or incremental") from None
    return DeliveryHeader(
        list_id=message.list_id,
        format=message.format,
        mode=mode,
        staged_by=staged_by,
        as_of=messages.seconds_of(message.as_of) if message.HasField("as_of") else 0.0,
        label=message.label,
        scheme=message.scheme,
        jurisdiction=message.jurisdiction,
        profile=message.profile,
        file_name=message.file_name,
        declared_records=message.declared_records if message.HasField("declared_records") else None,
        validate_only=message.validate_only,
        request_id=message.request_id,
        delivery_sha256=message.delivery_sha256,
    )


def definition(message: list_service_pb2.ListDefinition) -> ListDefinition:
    """What is stated about a list. Raises `HashmatchError` INVALID_FIELD."""
    try:
        nature = ListNature(message.nature)
    except ValueError:
        raise invalid_field("definition.nature", "say what the list is about") from None
    return ListDefinition(
        list_id=message.list_id,
        body=message.body,
        title=message.title,
        nature=nature,
        scheme=message.scheme,
        jurisdiction=message.jurisdiction,
        max_age=messages.seconds_of(message.max_age),
        maximum_distance=message.maximum_distance if message.HasField("maximum_distance") else None,
        minimum_asked_share=message.minimum_asked_share if message.HasField("minimum_asked_share") else ASKED_SHARE,
        minimum_listed_share=message.minimum_listed_share if message.HasField("minimum_listed_share") else LISTED_SHARE,
    )


def feedback(request: list_admin_service_pb2.SendFeedFeedbackRequest) -> Feedback:
    """What a body is told. Raises `HashmatchError` INVALID_FIELD."""
    try:
        opinion = FeedbackOpinion(request.opinion)
    except ValueError:
        raise invalid_field("opinion", "say whether the body is right") from None
    algorithm = None
    if request.HasField("hash"):
        try:
            algorithm = Algorithm(request.hash.algorithm)
        except ValueError:
            raise invalid_field("hash.algorithm", "unspecified or unknown") from None
    if len(request.source_key) > MAXIMUM_SOURCE_KEY:
        raise invalid_field("source_key", f"at most {MAXIMUM_SOURCE_KEY} characters")
    return Feedback(opinion, request.source_key, algorithm, request.hash.value, request.reason_id, tuple(request.tags))


def hashes(found: Iterable[common_pb2.Hash]) -> list[EntryHash]:
    """Hashes, at most `MAXIMUM_HASHES`. Raises `HashmatchError` INVALID_FIELD."""
    read = []
    for index, each in enumerate(found):
        if index >= MAXIMUM_HASHES:
            raise invalid_field("hashes", f"at most {MAXIMUM_HASHES}")
        try:
            algorithm = Algorithm(each.algorithm)
        except ValueError:
            raise invalid_field(f"hashes[{index}].algorithm", "unspecified or unknown") from None
        if len(each.value) != algorithm.digest_size:
            raise invalid_field(f"hashes[{index}].value", f"{algorithm.title} has {algorithm.digest_size} bytes")
        read.append((int(algorithm), each.value))
    return read


def withdrawn_hashes(found: Iterable[common_pb2.Hash]) -> list[EntryHash]:
    """Hashes to withdraw. Raises `HashmatchError` INVALID_FIELD and ALGORITHM_NOT_SERVED."""
    read = hashes(found)
    if any(algorithm == Algorithm.VPDQ for algorithm, _ in read):
        # What is left of a video would go on naming the number of frames that it had.
        raise HashmatchError(ErrorReason.ALGORITHM_NOT_SERVED, "a video is withdrawn by its source key")
    return read


def source_keys(found: Iterable[str]) -> tuple[str, ...]:
    """The body's keys of entries, at most `MAXIMUM_HASHES`. Raises `HashmatchError` INVALID_FIELD."""
    keys = tuple(found)
    if len(keys) > MAXIMUM_HASHES:
        raise invalid_field("source_keys", f"at most {MAXIMUM_HASHES}")
    if any(not 1 <= len(key) <= MAXIMUM_SOURCE_KEY for key in keys):
        raise invalid_field("source_keys", f"1 to {MAXIMUM_SOURCE_KEY} characters each")
    return keys


def list_ids(found: Iterable[str]) -> tuple[str, ...]:
    """The ids of lists. Raises `HashmatchError` INVALID_FIELD."""
    ids = tuple(found)
    for list_id in ids:
        check_list_id(list_id)
    return ids
