"""What surrounds every call: identity, permission, deadline, admission, errors, metrics and one line in the log.

It is one wrapper that is put around handlers when they are registered, rather than a chain of interceptors that gRPC
walks at every call, because all of it together must cost little beside a lookup that takes microseconds. The order is
fixed: a call is named and timed, then identified, permitted, required to have a deadline and admitted; only then is its
request decoded and handled. Whatever goes wrong becomes a status here and nowhere else:

* a `HashmatchError` becomes the code of its reason, with details;
* a status that the handler sent itself (`context.abort`) passes;
* cancellation passes, and is counted as DEADLINE_EXCEEDED if the deadline has come and as CANCELLED otherwise;
* everything else is INTERNAL: the caller gets no text, the log gets the traceback under the same request id.

Two refusals come from gRPC before any of this and carry neither details nor a request id: a message above
`server.maximum_message_bytes` (RESOURCE_EXHAUSTED) and a method that does not exist (UNIMPLEMENTED).
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeAlias, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from structlog.typing import FilteringBoundLogger

from hashmatch.model.clock import Clock
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service.admission import Admission, ListenerAdmission
from hashmatch.service.call_metrics import MethodMetrics
from hashmatch.service.calls import Call, Note, current_call, enter_call
from hashmatch.service.identity import AccessRules, IdentitySource
from hashmatch.service.logs import Event
from hashmatch.service.metrics import Metrics
from hashmatch.service.statuses import DETAILS_METADATA, code_of, details_of, message_of

REQUEST_ID_METADATA: Final = "x-request-id"
HEALTH_SERVICE: Final = "grpc.health.v1.Health"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# An id is written into the log as it is, so it must not be a digest. 32 hex digits pass only as a version 4 UUID, which
# is what clients draw; one in 64 MD5 digests looks like one.
_DIGEST_LIKE = re.compile(r"[0-9a-fA-F]{32,}")
_UUID4 = re.compile(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}")
# 96 bits never collide in practice, and 24 digits are too few to be taken for a digest.
_REQUEST_ID_BYTES = 12
_IDS_AT_ONCE = 256
# gRPC cancels at the deadline by its own clock; ours may then still show this much, in seconds.
_DEADLINE_TOLERANCE = 0.01

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Behaviour = Callable[..., Any]


class Guard:
    """What surrounds the calls of one listener. Handlers must be coroutines or asynchronous generators.

    `open_services` are served to anybody, without deadline and beyond the limits: a probe must get its answer when the
    server is overloaded, and from a prober that has no name.
    """

    def __init__(
        self,
        *,
        identity: IdentitySource,
        access: AccessRules,
        admission: ListenerAdmission,
        metrics: Metrics,
        logger: FilteringBoundLogger,
        clock: Clock,
        require_deadline: bool = True,
        open_services: Collection[str] = (HEALTH_SERVICE,),
        decoders: Mapping[str, Callable[[bytes], Any]] | None = None,
        encoders: Mapping[str, Callable[[Any], bytes]] | None = None,
    ) -> None:
        """`decoders` and `encoders` take the place of the library's for methods, by path, whose handlers want it so."""
        self._decoders = dict(decoders or {})
        self._encoders = dict(encoders or {})
        self._identity = identity
        self._access = access
        self._admission = admission
        self._metrics = metrics
        self._logger = logger
        self._clock = clock
        self._require_deadline = require_deadline
        self._open_services = frozenset(open_services)

    def over(self, server: grpc.aio.Server) -> grpc.aio.Server:
        """What services are registered with in place of `server`, so that none of their calls is unguarded.

        It is a `GuardedServer`; generated code asks for the type of a server but only ever registers handlers.
        """
        return cast("grpc.aio.Server", GuardedServer(server, self))

    def handlers(self, service: str, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
        """The handlers of a service, given by the names of its methods, with everything around them."""
        return {name: self._wrap(handler, service, name) for name, handler in handlers.items()}

    def _wrap(self, handler: Handler, service: str, name: str) -> Handler:
        # Requests are decoded by the wrappers, after admission, so that a refused call costs no decoding and bytes that
        # are no message are the caller's error rather than ours.
        method = _Method(self, service, name, handler)
        encode = self._encoders.get(method.path, handler.response_serializer)
        match handler.request_streaming, handler.response_streaming:
            case False, False:
                return grpc.unary_unary_rpc_method_handler(method.unary_unary, None, encode)
            case True, False:
                return grpc.stream_unary_rpc_method_handler(method.stream_unary, None, encode)
            case False, True:
                return grpc.unary_stream_rpc_method_handler(method.unary_stream, None, encode)
            case _:
                return grpc.stream_stream_rpc_method_handler(method.stream_stream, None, encode)


class GuardedServer:
    """Takes handlers from generated code, as `grpc.aio.Server` does, and registers them with the guard around them."""

    def __init__(self, server: grpc.aio.Server, guard: Guard) -> None:
        self._server = server
        self._guard = guard

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Register the handlers of a service."""
        guarded = self._guard.handlers(service_name, method_handlers)
        self._server.add_registered_method_handlers(service_name, guarded)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service_name, guarded),))

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Nothing: generated code registers every handler in the other way as well, and that way names them."""


class _Method:
    """The wrapper around the handler of one method."""

    def __init__(self, guard: Guard, service: str, name: str, handler: Handler) -> None:
        self.path = f"/{service}/{name}"
        self._service = service
        self._name = name
        self._guard = guard
        self._behaviour, grpc_type = _behaviour_of(handler)
        self._generates = inspect.isasyncgenfunction(self._behaviour)
        if not (self._generates or inspect.iscoroutinefunction(self._behaviour)):
            raise TypeError(f"{self.path}: the handler must be asynchronous")
        self._decode = guard._decoders.get(self.path, handler.request_deserializer)
        self._is_open = service in guard._open_services
        unary = grpc_type == "unary"
        self._needs_deadline = unary and guard._require_deadline and not self._is_open
        self._admission: Admission = guard._admission.unary if unary else guard._admission.streaming
        self._metrics: MethodMetrics = guard._metrics.method(grpc_type, service, name)
        # Probes come every few seconds for ever.
        self._log = guard._logger.debug if self._is_open else guard._logger.info

    async def unary_unary(self, message: bytes, context: Context) -> Any:
        async def work() -> Any:
            response = await self._behaviour(self._decoded(message), context)
            self._metrics.sent += 1
            return response

        return await self._guarded(context, work)

    async def stream_unary(self, messages: AsyncIterator[bytes], context: Context) -> Any:
        async def work() -> Any:
            response = await self._behaviour(self._requests(messages), context)
            self._metrics.sent += 1
            return response

        return await self._guarded(context, work)

    async def unary_stream(self, message: bytes, context: Context) -> None:
        async def work() -> None:
            await self._respond(self._decoded(message), context)

        await self._guarded(context, work)

    async def stream_stream(self, messages: AsyncIterator[bytes], context: Context) -> None:
        async def work() -> None:
            await self._respond(self._requests(messages), context)

        await self._guarded(context, work)

    async def _respond(self, request: Any, context: Context) -> None:
        # Writing here rather than yielding keeps a whole stream inside one coroutine: when it is cancelled while a
        # message is being sent, the place it holds is given back at once and not when a generator is collected.
        if not self._generates:
            await self._behaviour(request, context)
            return
        async with aclosing(self._behaviour(request, context)) as responses:
            async for response in responses:
                self._check_caller()
                await context.write(response)
                self._metrics.sent += 1

    async def _requests(self, messages: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for message in messages:
            self._check_caller()
            yield self._decoded(message)

    def _decoded(self, message: bytes) -> Any:
        self._metrics.received += 1
        if self._decode is None:
            return message
        try:
            return self._decode(message)
        except DecodeError:
            raise HashmatchError(ErrorReason.INVALID_FIELD, "the request is not a message of this method") from None

    async def _guarded(self, context: Context, work: Callable[[], Awaitable[Any]]) -> Any:
        call = Call(_request_id(context), self._guard._clock.monotonic(), self._name)
        enter_call(call)
        context.set_trailing_metadata(((REQUEST_ID_METADATA, call.request_id),))
        self._metrics.started += 1
        admitted = False
        code, reason = "UNKNOWN", ""
        try:
            self._check(call, context)
            if not self._is_open:
                self._admission.enter(call.caller.name)
                admitted = True
            result = await work()
            code = _own_code(context)
            return result
        except grpc.aio.AbortError:
            code = _own_code(context)
            raise
        except asyncio.CancelledError as error:
            if _is_cancelled():
                code = "DEADLINE_EXCEEDED" if self._deadline_passed(call) else "CANCELLED"
                raise
            # Something that the handler waited for was cancelled, not the call. gRPC would take it for the end of the
            # call and send nothing, so that the caller waits until its deadline.
            self._log_failure(call, error)
            code, reason = "UNAVAILABLE", str(ErrorReason.NOT_SERVING)
            await _abort(context, call, HashmatchError(ErrorReason.NOT_SERVING, "the server dropped this call"))
        except HashmatchError as error:
            code, reason = code_of(error.reason).name, str(error.reason)
            await _abort(context, call, error)
        except grpc.aio.InternalError:
            # What writing to a caller raises whose connection broke at that moment: nobody is left to be told.
            code = "CANCELLED"
            await _abort(context, call, HashmatchError(ErrorReason.NOT_SERVING, "the server dropped this call"))
        except Exception as error:  # noqa: BLE001  gRPC would send the text of it to the caller
            self._log_failure(call, error)
            code, reason = "INTERNAL", str(ErrorReason.INTERNAL)
            await _abort(context, call, HashmatchError(ErrorReason.INTERNAL, "internal error"))
        finally:
            if admitted:
                self._admission.leave(call.caller.name)
            duration = self._guard._clock.monotonic() - call.started
            # gRPC sends the answer when this returns, before the loop does anything else. Nobody has to wait for the
            # line in the log.
            asyncio.get_running_loop().call_soon(self._account, call, duration, code, reason)

    def _check(self, call: Call, context: Context) -> None:
        """Fill in who calls and until when. Raises `HashmatchError` if the call may not go on."""
        remaining: float | None = context.time_remaining()
        if remaining is not None:
            call.deadline = call.started + remaining
        if self._is_open:
            return
        call.caller = self._guard._identity.caller(context)
        self._guard._access.check(call.caller, self._service)
        if remaining is None and self._needs_deadline:
            raise HashmatchError(ErrorReason.DEADLINE_REQUIRED, "set a deadline on this call")

    def _check_caller(self) -> None:
        """Raise `HashmatchError` IDENTITY_MISSING if the caller's identity has expired since the call began."""
        current_call().caller.check(self._guard._clock.now())

    def _log_failure(self, call: Call, error: BaseException) -> None:
        self._guard._logger.error(Event.RPC_FAILED, method=self.path, request_id=call.request_id, exc_info=error)

    def _deadline_passed(self, call: Call) -> bool:
        return call.deadline is not None and self._guard._clock.monotonic() >= call.deadline - _DEADLINE_TOLERANCE

    def _account(self, call: Call, duration: float, code: str, reason: str) -> None:
        self._metrics.finish(code, duration)
        fields: dict[str, Note] = call.notes
        fields.update(
            method=self.path,
            code=code,
            caller=call.caller.name,
            request_id=call.request_id,
            duration_ms=round(duration * 1000, 3),
        )
        if reason:
            fields["reason"] = reason
        self._log(Event.RPC_HANDLED, **fields)


def _behaviour_of(handler: Handler) -> tuple[Behaviour, str]:
    """The function of a handler and what the metrics call its type."""
    match handler.request_streaming, handler.response_streaming:
        case False, False:
            behaviour, grpc_type = handler.unary_unary, "unary"
        case True, False:
            behaviour, grpc_type = handler.stream_unary, "client_stream"
        case False, True:
            behaviour, grpc_type = handler.unary_stream, "server_stream"
        case _:
            behaviour, grpc_type = handler.stream_stream, "bidi_stream"
    if behaviour is None:
        raise TypeError("the handler has no function")
    return behaviour, grpc_type


def _may_be_logged(request_id: str) -> bool:
    if not _REQUEST_ID.fullmatch(request_id):
        return False
    return not _DIGEST_LIKE.search(request_id) or bool(_UUID4.fullmatch(request_id))


def _fresh_ids() -> Iterator[str]:
    """Ids that nobody else has. The system is asked for many at a time: a call for each takes longer than all else."""
    width = 2 * _REQUEST_ID_BYTES
    while True:
        drawn = os.urandom(_REQUEST_ID_BYTES * _IDS_AT_ONCE).hex()
        for at in range(0, len(drawn), width):
            yield drawn[at : at + width]


def _request_id(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID_METADATA and isinstance(value, str) and _may_be_logged(value):
            return value
    return next(_FRESH_IDS)


def _is_cancelled() -> bool:
    """Whether somebody cancelled the task of the call, which gRPC does when the caller goes away or the time is up."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _own_code(context: Context) -> str:
    """The code that the handler set itself, OK if it did not."""
    code: grpc.StatusCode | int | None = context.code()
    if isinstance(code, grpc.StatusCode):
        return code.name
    return _CODE_NAMES.get(code or 0, "UNKNOWN")


async def _abort(context: Context, call: Call, error: HashmatchError) -> None:
    """End the call with the status of `error`. Always raises."""
    trailing = ((REQUEST_ID_METADATA, call.request_id), (DETAILS_METADATA, details_of(error)))
    await context.abort(code_of(error.reason), message_of(error), trailing)


_FRESH_IDS: Final = _fresh_ids()
_CODE_NAMES: Final = {code.value[0]: code.name for code in grpc.StatusCode}
