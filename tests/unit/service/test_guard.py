"""What surrounds every call, with a real server."""

from __future__ import annotations

import asyncio
import base64
import urllib.parse
import uuid
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc._cython import cygrpc
from prometheus_client import CollectorRegistry

from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service.calls import annotate, current_call, tally
from hashmatch.service.config_serving import ServerSection
from hashmatch.service.identity import AccessRules
from hashmatch.service.statuses import code_of
from hashmatch.v1 import errors_pb2

from .conftest import SERVICE, ManualClock, Serve, Toy, ToyClient
from .rpc import HELLO, SECRET, TIMEOUT, details, failing, failure, handled, reason, trailing

# --- errors ---------------------------------------------------------------------------------------------------------


def test_every_reason_is_in_the_contract_and_has_the_code_that_it_states() -> None:
    contract = {name.removeprefix("ERROR_REASON_") for name, _ in errors_pb2.ErrorReason.items()} - {"UNSPECIFIED"}
    assert contract == {str(reason) for reason in ErrorReason}
    for each in ErrorReason:
        assert isinstance(code_of(each), grpc.StatusCode)


@pytest.mark.parametrize("each", list(ErrorReason))
async def test_an_error_reaches_the_caller_with_code_reason_and_details(serve: Serve, each: ErrorReason) -> None:
    error = HashmatchError(each, "what is wrong", metadata={"list_id": "a"}, fields={"items": "empty"}, retry_after=1.5)
    client = await serve(failing(error))
    caught = await failure(client.unary(HELLO, timeout=TIMEOUT))
    assert caught.code() == code_of(each)
    assert caught.details() == "what is wrong"
    found = details(caught)
    assert found["ErrorInfo"].reason == str(each)
    assert dict(found["ErrorInfo"].metadata) == {"list_id": "a"}
    assert [(v.field, v.description) for v in found["BadRequest"].field_violations] == [("items", "empty")]
    assert found["RetryInfo"].retry_delay.ToMilliseconds() == 1500


async def test_only_the_details_that_there_are_are_sent(serve: Serve) -> None:
    client = await serve(failing(HashmatchError(ErrorReason.CONFLICT, "again")))
    assert details(await failure(client.unary(HELLO, timeout=TIMEOUT))).keys() == {"ErrorInfo"}


async def test_a_verbose_error_still_fits_into_the_trailers(serve: Serve) -> None:
    many = {f"items[{n}].{'x' * 300}": "ä" * 3_000 for n in range(1_000)}
    error = HashmatchError(ErrorReason.INVALID_FIELD, "é" * 5_000, fields=many, metadata=many)
    client = await serve(failing(error))
    caught = await failure(client.unary(HELLO, timeout=TIMEOUT))
    assert reason(caught) == "INVALID_FIELD"
    encoded = len(base64.b64encode(trailing(caught, "grpc-status-details-bin")))
    assert encoded + len(urllib.parse.quote(caught.details() or "")) < 6 << 10


async def test_a_hash_in_an_error_does_not_reach_the_caller(serve: Serve) -> None:
    error = HashmatchError(
        ErrorReason.INVALID_FIELD, f"bad {SECRET}", fields={"items": SECRET}, metadata={"value": SECRET}
    )
    caught = await failure((await serve(failing(error))).unary(HELLO, timeout=TIMEOUT))
    assert SECRET not in str(caught)
    assert SECRET.encode() not in trailing(caught, "grpc-status-details-bin")


async def test_an_unexpected_exception_tells_the_caller_nothing(serve: Serve, lines: list[dict[str, Any]]) -> None:
    client = await serve(failing(RuntimeError("the inside of the server")))
    caught = await failure(client.unary(HELLO, timeout=TIMEOUT, metadata=(("x-request-id", "abc"),)))
    assert caught.code() == grpc.StatusCode.INTERNAL
    assert caught.details() == "internal error"
    assert reason(caught) == "INTERNAL"
    assert "inside" not in str(caught.trailing_metadata())
    [failed] = [line for line in lines if line["event"] == "rpc-failed"]
    assert failed["log_level"] == "error"
    assert failed["request_id"] == "abc"
    assert str(failed["exc_info"]) == "the inside of the server"


async def test_bytes_that_are_no_message_are_the_callers_error(serve: Serve) -> None:
    client = await serve(Toy())
    caught = await failure(client.raw(b"\xff\xff\xff", timeout=TIMEOUT))
    assert caught.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert reason(caught) == "INVALID_FIELD"


async def test_a_status_that_the_handler_sends_itself_passes(serve: Serve, registry: CollectorRegistry) -> None:
    async def behaviour(request: Any, context: grpc.aio.ServicerContext) -> Any:
        await context.abort(grpc.StatusCode.ALREADY_EXISTS, "its own words")

    caught = await failure((await serve(Toy(unary=behaviour))).unary(HELLO, timeout=TIMEOUT))
    assert caught.code() == grpc.StatusCode.ALREADY_EXISTS
    assert caught.details() == "its own words"
    await handled(registry, "Unary", "unary", "ALREADY_EXISTS")


async def test_a_code_that_the_handler_sets_is_counted(serve: Serve, registry: CollectorRegistry) -> None:
    async def behaviour(request: Any, context: grpc.aio.ServicerContext) -> Any:
        context.set_code(grpc.StatusCode.NOT_FOUND)
        return request

    await failure((await serve(Toy(unary=behaviour))).unary(HELLO, timeout=TIMEOUT))
    await handled(registry, "Unary", "unary", "NOT_FOUND")


async def test_a_method_that_does_not_exist_is_unimplemented(serve: Serve) -> None:
    client = await serve(Toy())
    assert (await failure(client.watch(HELLO, timeout=TIMEOUT).read())).code() == grpc.StatusCode.UNIMPLEMENTED


# --- cancellation and deadlines -------------------------------------------------------------------------------------


def hanging() -> tuple[Toy, asyncio.Event]:
    begun = asyncio.Event()

    async def behaviour(request: Any, context: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    return Toy(unary=behaviour), begun


async def test_a_caller_that_goes_away_is_counted_as_cancelled(serve: Serve, registry: CollectorRegistry) -> None:
    toy, begun = hanging()
    call = (await serve(toy)).unary(HELLO, timeout=TIMEOUT)
    await asyncio.wait_for(begun.wait(), TIMEOUT)
    call.cancel()
    await handled(registry, "Unary", "unary", "CANCELLED")


async def test_a_deadline_that_comes_is_counted_as_exceeded(
    serve: Serve, registry: CollectorRegistry, clock: ManualClock
) -> None:
    toy, begun = hanging()
    call = (await serve(toy)).unary(HELLO, timeout=0.2)
    await asyncio.wait_for(begun.wait(), TIMEOUT)
    clock.advance(0.2)
    assert (await failure(call)).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await handled(registry, "Unary", "unary", "DEADLINE_EXCEEDED")


async def test_a_cancellation_inside_of_the_server_does_not_leave_the_caller_waiting(serve: Serve) -> None:
    caught = await failure((await serve(failing(asyncio.CancelledError()))).unary(HELLO, timeout=TIMEOUT))
    assert caught.code() == grpc.StatusCode.UNAVAILABLE
    assert reason(caught) == "NOT_SERVING"


async def test_a_connection_that_breaks_under_an_answer_is_no_defect(
    serve: Serve, registry: CollectorRegistry, lines: list[dict[str, Any]]
) -> None:
    # What `context.write` raises then.
    client = await serve(failing(cygrpc.ExecuteBatchError("execute_batch", ())))
    assert reason(await failure(client.unary(HELLO, timeout=TIMEOUT))) == "NOT_SERVING"
    await handled(registry, "Unary", "unary", "CANCELLED")
    assert [line["event"] for line in lines] == ["rpc-handled"]


async def test_a_unary_call_needs_a_deadline(serve: Serve) -> None:
    caught = await failure((await serve(Toy())).unary(HELLO))
    assert caught.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert reason(caught) == "DEADLINE_REQUIRED"


async def test_a_deadline_can_be_left_to_the_caller(serve: Serve) -> None:
    assert await (await serve(Toy(), require_deadline=False)).unary(HELLO) == HELLO


async def test_handlers_know_their_call(serve: Serve, clock: ManualClock) -> None:
    seen = []

    async def behaviour(request: Any, context: Any) -> Any:
        seen.append(current_call())
        return request

    await (await serve(Toy(unary=behaviour))).unary(
        HELLO, timeout=TIMEOUT, metadata=(("x-request-id", "r-1"), ("hashmatch-operator", "alice"))
    )
    [call] = seen
    assert call.request_id == "r-1"
    assert call.caller.name == "loopback:alice"
    assert not call.caller.authenticated
    assert call.deadline is not None
    # gRPC rounds timeouts up on the wire.
    assert clock.elapsed < call.deadline <= clock.elapsed + TIMEOUT + 1


def test_there_is_no_call_outside_of_one() -> None:
    annotate(items=1)
    tally(items=1)
    with pytest.raises(LookupError):
        current_call()


# --- request id, permission -----------------------------------------------------------------------------------------


async def echoed(client: ToyClient, given: str) -> str:
    call = client.unary(HELLO, timeout=TIMEOUT, metadata=(("x-request-id", given),))
    await call
    return str(dict(await call.trailing_metadata())["x-request-id"])


async def test_the_request_id_is_echoed(serve: Serve) -> None:
    assert await echoed(await serve(Toy()), "A-z.0_9") == "A-z.0_9"


async def test_a_client_draws_uuids(serve: Serve) -> None:
    drawn = uuid.UUID(int=7, version=4).hex
    assert await echoed(await serve(Toy()), drawn) == drawn


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'a"b', "a/b", "0f" * 16, "0f" * 20, "0f" * 32])
async def test_a_request_id_that_is_none_is_replaced(serve: Serve, given: str) -> None:
    client = await serve(Toy())
    first, second = await echoed(client, given), await echoed(client, given)
    assert len(first) == 24
    assert first != second
    assert given not in (first, second)


async def test_the_request_id_comes_with_errors(serve: Serve) -> None:
    client = await serve(failing(ValueError()))
    caught = await failure(client.unary(HELLO, timeout=TIMEOUT, metadata=(("x-request-id", "r-1"),)))
    assert trailing(caught, "x-request-id") == "r-1"


async def test_a_service_without_a_rule_is_refused(serve: Serve) -> None:
    client = await serve(Toy(), access=AccessRules(["another.Service"]))
    caught = await failure(client.unary(HELLO, timeout=TIMEOUT))
    assert caught.code() == grpc.StatusCode.PERMISSION_DENIED
    assert reason(caught) == "NOT_PERMITTED"


async def test_a_malformed_operator_is_nobody(serve: Serve) -> None:
    client = await serve(Toy())
    caught = await failure(client.unary(HELLO, timeout=TIMEOUT, metadata=(("hashmatch-operator", "A b"),)))
    assert caught.code() == grpc.StatusCode.UNAUTHENTICATED
    assert reason(caught) == "IDENTITY_MISSING"


async def test_an_open_service_asks_for_nothing(serve: Serve, lines: list[dict[str, Any]]) -> None:
    section = ServerSection(maximum_concurrent_requests=1)
    client = await serve(Toy(), section=section, access=AccessRules([]), open_services=[SERVICE])
    assert await client.unary(HELLO, metadata=(("hashmatch-operator", "A b"),)) == HELLO
    assert [line["log_level"] for line in lines] == ["debug"]


# --- load -----------------------------------------------------------------------------------------------------------


async def test_load_above_the_limit_is_shed_and_the_place_comes_back(serve: Serve, registry: CollectorRegistry) -> None:
    release, begun = asyncio.Event(), asyncio.Event()

    async def behaviour(request: Any, context: Any) -> Any:
        begun.set()
        await release.wait()
        return request

    section = ServerSection(maximum_concurrent_requests=1, maximum_share_per_caller=1, overload_retry_seconds=0.25)
    client = await serve(Toy(unary=behaviour), section=section)
    first = client.unary(HELLO, timeout=TIMEOUT)
    await asyncio.wait_for(begun.wait(), TIMEOUT)
    inflight = {"listener": "matching", "kind": "unary"}
    assert registry.get_sample_value("hashmatch_inflight_requests", inflight) == 1
    caught = await failure(client.unary(HELLO, timeout=TIMEOUT))
    assert caught.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason(caught) == "OVERLOADED"
    assert details(caught)["RetryInfo"].retry_delay.ToMilliseconds() == 250
    shed = {"listener": "matching", "reason": "unary-full"}
    assert registry.get_sample_value("hashmatch_shed_total", shed) == 1
    release.set()
    assert await first == HELLO
    assert await client.unary(HELLO, timeout=TIMEOUT) == HELLO
    assert registry.get_sample_value("hashmatch_inflight_requests", inflight) == 0


async def test_one_caller_leaves_places_for_the_others(serve: Serve, registry: CollectorRegistry) -> None:
    async def behaviour(request: Any, context: Any) -> Any:
        if request.value == "wait":
            begun.set()
            await asyncio.Event().wait()
        return request

    begun = asyncio.Event()
    section = ServerSection(maximum_concurrent_requests=2, maximum_share_per_caller=0.5)
    client = await serve(Toy(unary=behaviour), section=section)
    busy, other = (("hashmatch-operator", "busy"),), (("hashmatch-operator", "other"),)
    held = client.unary(StringValue(value="wait"), timeout=TIMEOUT, metadata=busy)
    await asyncio.wait_for(begun.wait(), TIMEOUT)
    assert reason(await failure(client.unary(HELLO, timeout=TIMEOUT, metadata=busy))) == "OVERLOADED"
    assert await client.unary(HELLO, timeout=TIMEOUT, metadata=other) == HELLO
    held.cancel()
    await handled(registry, "Unary", "unary", "CANCELLED")
    assert await client.unary(HELLO, timeout=TIMEOUT, metadata=busy) == HELLO


@pytest.mark.parametrize("error", [HashmatchError(ErrorReason.CONFLICT, "again"), ValueError()])
async def test_a_failed_call_gives_its_place_back(serve: Serve, error: Exception) -> None:
    section = ServerSection(maximum_concurrent_requests=1, maximum_share_per_caller=1)
    client = await serve(failing(error), section=section)
    for _ in range(3):
        assert reason(await failure(client.unary(HELLO, timeout=TIMEOUT))) != "OVERLOADED"


# --- the log --------------------------------------------------------------------------------------------------------


async def test_each_call_has_one_line(
    serve: Serve, lines: list[dict[str, Any]], clock: ManualClock, registry: CollectorRegistry
) -> None:
    async def behaviour(request: Any, context: Any) -> Any:
        annotate(epoch=7)
        tally(items=2, matches=1)
        tally(items=3)
        clock.advance(0.25)
        if request.value == "bad":
            raise HashmatchError(ErrorReason.EMPTY_BATCH, "nothing to do")
        return request

    client = await serve(Toy(unary=behaviour))
    metadata = (("x-request-id", "r-1"),)
    await client.unary(HELLO, timeout=TIMEOUT, metadata=metadata)
    await failure(client.unary(StringValue(value="bad"), timeout=TIMEOUT, metadata=metadata))
    await handled(registry, "Unary", "unary", "INVALID_ARGUMENT")
    expected = {
        "event": "rpc-handled",
        "log_level": "info",
        "method": f"/{SERVICE}/Unary",
        "code": "OK",
        "caller": "loopback:anonymous",
        "request_id": "r-1",
        "duration_ms": 250.0,
        "epoch": 7,
        "items": 5,
        "matches": 1,
    }
    assert lines == [expected, expected | {"code": "INVALID_ARGUMENT", "reason": "EMPTY_BATCH"}]


async def test_the_answer_does_not_wait_for_the_log(serve: Serve, lines: list[dict[str, Any]]) -> None:
    lines_when_encoding: list[int] = []

    def encode(answer: StringValue) -> bytes:
        lines_when_encoding.append(len(lines))
        return answer.SerializeToString()

    client = await serve(Toy(), encoders={f"/{SERVICE}/Unary": encode})
    await client.unary(HELLO, timeout=TIMEOUT)
    assert lines_when_encoding == [0]
    assert len(lines) == 1
