"""HTTP to one body: one host, bounded in time, size and attempts, and silent about what it carries.

* TLS is always verified; plain HTTP passes only for loopback, which the definition has checked.
* Nothing is redirected: a redirect would take our credentials to wherever it points.
* What failed for the moment (no connection, no answer in time, 429, 500, 502, 503, 504) is asked again, a bounded
  number of times, after pauses that double and are drawn at random, or that the body asks for with `Retry-After`. What
  the body refuses stays refused.
* No error holds a query, a header or a byte of an answer.
"""

from __future__ import annotations

import asyncio
import email.utils
import functools
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from hashmatch.ingest.feeds.definition import FeedDefinition
from hashmatch.ingest.feeds.errors import FeedError, FeedFailure
from hashmatch.model.clock import Clock
from hashmatch.version import VERSION

Pause = Callable[[float], Awaitable[object]]

_FOR_THE_MOMENT = frozenset(
    {
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
_UNAUTHORISED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
# Pauses without a word from the body: drawn between half of this, doubled each time, and the whole.
_LONGEST_BACKOFF = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a body answered. `date` is its own clock in seconds since 1970, None if it does not say."""

    content: bytes
    date: float | None

    def __repr__(self) -> str:
        return f"Answer({len(self.content)} bytes)"


class _FailedForTheMomentError(Exception):
    """An attempt that may be made again; `pause` is what the body asks for."""

    def __init__(self, reason: FeedFailure, detail: str, pause: float = 0.0, *, status: int = 0) -> None:
        self.error = FeedError(reason, detail, status=status)
        self.pause = pause


class FeedClient:
    """Requests to the body of one feed; an asynchronous context. Methods raise `FeedError`.

    `requests` and `retries` count what was sent. `pause` waits, for tests that do not want to.
    """

    def __init__(
        self,
        feed: FeedDefinition,
        clock: Clock,
        *,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self.requests = 0
        self.retries = 0
        self._feed = feed
        self._clock = clock
        self._pause = pause
        self._origin = _origin(feed.base_url)
        try:
            verify = ssl.create_default_context(cafile=feed.ca_file) if feed.ca_file else _public_authorities()
        except OSError as error:
            raise FeedError(
                FeedFailure.CREDENTIALS, f"cannot use {feed.ca_file}: {error.strerror or 'no certificates'}"
            ) from error
        self._client = httpx.AsyncClient(
            headers={"User-Agent": f"hashmatch/{VERSION}", "Accept-Encoding": "gzip", **(headers or {})},
            auth=None if auth is None else httpx.BasicAuth(*auth),
            verify=verify,
            timeout=httpx.Timeout(feed.request_timeout, connect=feed.connect_timeout),
            follow_redirects=False,
            # Neither a proxy nor a certificate nor a password comes from the environment.
            trust_env=False,
        )

    async def __aenter__(self) -> FeedClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    def now(self) -> float:
        """Our own clock, in seconds since 1970."""
        return self._clock.now()

    def url(self, path: str) -> str:
        """Where a path below the body's base URL is."""
        return self._feed.base_url + path

    def linked(self, link: str, *, below: str) -> str:
        """The URL of a link in an answer, which may be relative: a path is one below the base URL, or one of the host.

        Raises `FeedError` unless it stays on the body's host and has the path `below`.
        """
        wanted = self.url(below)
        try:
            for url in (self.url(link) if link.startswith("/") else link, urljoin(wanted, link)):
                if _origin(url) == self._origin and urlsplit(url).path.rstrip("/") == urlsplit(wanted).path:
                    return url
        except ValueError:
            raise FeedError(FeedFailure.MALFORMED, "a link to the next page is no URL") from None
        raise FeedError(FeedFailure.REDIRECTED, "a link to the next page leads elsewhere")

    async def get(
        self, url: str, params: Mapping[str, str | int] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """GET, again if need be."""
        return await self.send("GET", url, params=params, headers=headers)

    async def send(self, method: str, url: str, *, repeatable: bool = True, **request: Any) -> Answer:
        """Any request, with httpx's arguments. One that is not `repeatable` is repeated only if it was not taken."""
        backoff = self._feed.first_pause
        for attempt in range(1, self._feed.attempts + 1):
            try:
                async with asyncio.timeout(self._feed.request_timeout):
                    return await self._send(method, url, request)
            except _FailedForTheMomentError as failed:
                error, asked = failed.error, failed.pause
            except TimeoutError:
                error, asked = FeedError(FeedFailure.TIMED_OUT, f"{_place(url)}: no whole answer in time"), 0.0
            taken = error.reason is not FeedFailure.RATE_LIMITED
            if attempt == self._feed.attempts or (taken and not repeatable) or asked > self._feed.longest_pause:
                raise error
            self.retries += 1
            await self._pause(max(asked, random.uniform(backoff / 2, backoff)))
            backoff = min(backoff * 2, _LONGEST_BACKOFF)
        raise AssertionError("there is at least one attempt")

    async def _send(self, method: str, url: str, request: dict[str, Any]) -> Answer:
        self.requests += 1
        try:
            async with self._client.stream(method, url, **request) as response:
                self._check(response, url)
                content = bytearray()
                async for part in response.aiter_bytes():
                    content += part
                    if len(content) > self._feed.maximum_page_bytes:
                        raise FeedError(
                            FeedFailure.TOO_LARGE,
                            f"{_place(url)}: an answer of more than {self._feed.maximum_page_bytes} bytes",
                        )
                return Answer(bytes(content), _date(response.headers.get("Date", "")))
        except httpx.TimeoutException as error:
            raise _FailedForTheMomentError(FeedFailure.TIMED_OUT, f"{_place(url)}: no answer in time") from error
        except httpx.DecodingError:
            raise FeedError(FeedFailure.MALFORMED, f"{_place(url)}: the answer cannot be decompressed") from None
        except (httpx.RequestError, httpx.InvalidURL, ssl.SSLError) as error:
            if _is_untrusted(error):
                raise FeedError(
                    FeedFailure.UNREACHABLE, f"{_place(url)}: the server's certificate does not verify"
                ) from error
            raise _FailedForTheMomentError(FeedFailure.UNREACHABLE, f"{_place(url)}: {type(error).__name__}") from error

    def _check(self, response: httpx.Response, url: str) -> None:
        status = response.status_code
        if response.is_success:
            return
        what = f"{_place(url)}: HTTP status {status}"
        if 300 <= status < 400:
            raise FeedError(FeedFailure.REDIRECTED, what, status=status)
        if status in _UNAUTHORISED:
            raise FeedError(FeedFailure.CREDENTIALS, what, status=status)
        if status in _FOR_THE_MOMENT:
            limited = status == HTTPStatus.TOO_MANY_REQUESTS
            reason = FeedFailure.RATE_LIMITED if limited else FeedFailure.BODY_ERROR
            raise _FailedForTheMomentError(reason, what, self._asked_pause(response), status=status)
        raise FeedError(FeedFailure.REFUSED, what, status=status)

    def _asked_pause(self, response: httpx.Response) -> float:
        """What `Retry-After` asks for, in seconds; 0 if it asks for nothing that can be understood."""
        text = response.headers.get("Retry-After", "").strip()
        if text.isascii() and text.isdigit():
            return float(text[:9])
        moment = _date(text)
        return 0.0 if moment is None else max(0.0, moment - self._clock.now())


@functools.cache
def _public_authorities() -> ssl.SSLContext:
    """The authorities that browsers trust; they take a tenth of a second to load."""
    return httpx.create_ssl_context(trust_env=False)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname, port


def _place(url: str) -> str:
    """Host and path: queries hold tokens and cursors."""
    parts = urlsplit(url)
    return f"{parts.hostname}{parts.path}"


def _date(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
