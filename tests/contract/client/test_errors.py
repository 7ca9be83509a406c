"""Every failure is an exception that says what a program needs to know."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
import hashmatch_client
import pytest
from google.protobuf import any_pb2
from google.rpc import status_pb2
from hashmatch_client import (
    Algorithm,
    ApiError,
    AsyncHashmatchClient,
    DeadlineExceededError,
    FieldViolation,
    HashmatchClient,
    InvalidRequestError,
    NotFoundError,
    NotPermittedError,
    OverloadedError,
    Retry,
    UnavailableError,
    _errors,
)

from .conftest import KNOWN, NO_RETRY


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, OverloadedError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceededError),
        (grpc.StatusCode.PERMISSION_DENIED, NotPermittedError),
        (grpc.StatusCode.UNAUTHENTICATED, NotPermittedError),
        (grpc.StatusCode.NOT_FOUND, NotFoundError),
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequestError),
        (grpc.StatusCode.INTERNAL, ApiError),
        (grpc.StatusCode.DATA_LOSS, ApiError),
    ],
)
async def test_the_code_decides_the_kind_in_both_clients(client, async_client, fake, code, kind):
    fake.fail_next(code, "SOME_REASON", retry_delay=1.5, fields={"items": "is empty"}, times=2)
    with pytest.raises(ApiError) as from_sync:
        client.match(sha256=KNOWN)
    with pytest.raises(ApiError) as from_async:
        await async_client.match(sha256=KNOWN)
    for error, call in zip((from_sync.value, from_async.value), fake.calls, strict=True):
        assert type(error) is kind
        assert (error.code, error.reason, error.domain) == (code, "SOME_REASON", "hashmatch")
        assert error.retry_delay == 1.5
        assert error.fields == (FieldViolation("items", "is empty"),)
        assert error.request_id == call.metadata["x-request-id"]
        assert str(error) == f"{code.name}/SOME_REASON: the fake was told to fail"


def test_a_server_that_is_not_there_is_unavailable():
    with HashmatchClient("127.0.0.1:1", retry=NO_RETRY) as client, pytest.raises(UnavailableError) as caught:
        client.match(sha256=KNOWN)
    assert caught.value.reason == ""
    assert caught.value.request_id


def test_unavailable_is_tried_again_and_nothing_else(fake):
    eager = Retry(attempts=3, initial_backoff=0.01, max_backoff=0.01)
    with HashmatchClient(fake.target, retry=eager) as client:
        fake.fail_next(grpc.StatusCode.UNAVAILABLE, times=2)
        assert client.match(sha256=KNOWN).is_match
        assert len(fake.calls) == 3
        fake.fail_next(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        with pytest.raises(OverloadedError):
            client.match(sha256=KNOWN)
        assert len(fake.calls) == 4


async def test_the_async_client_tries_again_alike(fake):
    eager = Retry(attempts=3, initial_backoff=0.01, max_backoff=0.01)
    async with AsyncHashmatchClient(fake.target, retry=eager) as client:
        fake.fail_next(grpc.StatusCode.UNAVAILABLE, times=2)
        assert (await client.match(sha256=KNOWN)).is_match


def test_a_failure_is_not_a_hash(client, fake):
    fake.fail_next(grpc.StatusCode.INTERNAL, "INTERNAL")
    with pytest.raises(ApiError) as caught:
        client.match(sha256=KNOWN)
    assert KNOWN.hex() not in f"{caught.value}{caught.value!r}{caught.value.__dict__}"


def test_every_exception_stands_in_the_tree_that_the_docstring_draws():
    kinds = [
        value
        for value in vars(_errors).values()
        if isinstance(value, type) and issubclass(value, hashmatch_client.HashmatchClientError)
    ]
    for kind in kinds:
        assert kind.__name__ in _errors.__doc__
        assert kind.__name__ in hashmatch_client.__all__


@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff",
        status_pb2.Status(code=3, message="another code").SerializeToString(),
        status_pb2.Status(
            code=14, message="no", details=[any_pb2.Any(type_url="t/google.rpc.ErrorInfo", value=b"\xff")]
        ).SerializeToString(),
        status_pb2.Status(code=14, message="no", details=[any_pb2.Any(type_url="t/of.tomorrow")]).SerializeToString(),
    ],
    ids=["unreadable", "contradicting", "unreadable inside", "unknown inside"],
)
def test_details_that_cannot_be_read_do_not_hide_the_failure(details):
    def fail(_request, context):
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(grpc.StatusCode.UNAVAILABLE, "no")

    handler = grpc.method_handlers_generic_handler(
        "hashmatch.v1.MatchService", {"GetSnapshot": grpc.unary_unary_rpc_method_handler(fail)}
    )
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handler], options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with HashmatchClient(f"127.0.0.1:{port}", retry=NO_RETRY) as client, pytest.raises(UnavailableError) as caught:
            client.snapshot()
    finally:
        server.stop(None).wait()
    assert (caught.value.reason, caught.value.message) == ("", "no")


async def test_the_environment_makes_either_client(fake):
    environ = {"HASHMATCH_TARGET": fake.target, "HASHMATCH_TIMEOUT": "3"}
    with HashmatchClient.from_environment(environ) as client:
        assert client.match(sha256=KNOWN).is_match
    async with AsyncHashmatchClient.from_environment(environ) as async_client:
        assert (await async_client.match(sha256=KNOWN)).is_match
    assert all(call.seconds_left < 5 for call in fake.calls)


async def test_every_call_of_the_async_client_tells_of_its_failure(async_client, fake):
    # One more than there are calls: a stream whose refusal the library lost is asked for again, and then tells it.
    fake.fail_next(grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED", times=5)
    with pytest.raises(NotPermittedError):
        await async_client.snapshot()
    with pytest.raises(NotPermittedError):
        await anext(async_client.lists())
    with pytest.raises(NotPermittedError):
        await async_client.get_list("alpha")
    with pytest.raises(NotPermittedError):
        await anext(async_client.bulk_match(Algorithm.SHA256, KNOWN))


async def test_however_often_a_stream_is_refused_its_reason_is_told_and_nothing_of_it_stays(async_client, fake):
    # One refusal in twenty or so meets the first message on its way, and its reason is lost.
    fake.fail_next(grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED", times=400)
    before = asyncio.all_tasks()
    for _ in range(200):
        with pytest.raises(NotPermittedError):
            await anext(async_client.bulk_match(Algorithm.SHA256, KNOWN))
    async with asyncio.timeout(30):
        while asyncio.all_tasks() - before:  # noqa: ASYNC110 - no event tells of the end of grpcio's own tasks
            await asyncio.sleep(0)
