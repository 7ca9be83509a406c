"""What the URL of a store says."""

from __future__ import annotations

import pytest

from hashmatch.store.urls import StoreUrl, StoreUrlError, parse_store_url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://localhost", StoreUrl("server", (("localhost", 6379),), "redis://localhost")),
        ("rediss://ann@h:1/3?x=y", StoreUrl("server", (("h", 1),), "rediss://ann@h:1/3?x=y")),
        ("redis://[::1]:7", StoreUrl("server", (("::1", 7),), "redis://[::1]:7")),
        ("unix:///a/socket?db=1", StoreUrl("server", (), "unix:///a/socket?db=1")),
        ("redis+cluster://a,b:7000", StoreUrl("cluster", (("a", 6379), ("b", 7000)), "redis://a:6379")),
        ("rediss+cluster://u@a:1,[::1]:2/0?c=d", StoreUrl("cluster", (("a", 1), ("::1", 2)), "rediss://u@a:1?c=d")),
        ("redis+sentinel://a,b:5/lists", StoreUrl("sentinel", (("a", 26379), ("b", 5)), "redis://a:26379", "lists")),
        ("rediss+sentinel://u@a/l/2", StoreUrl("sentinel", (("a", 26379),), "rediss://u@a:26379/2", "l")),
    ],
)
def test_a_url_says_what_the_store_is(url: str, said: StoreUrl) -> None:
    assert parse_store_url(url) == said
    assert said.is_encrypted == url.startswith("rediss")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://localhost",
        "redis+ring://a",
        "redis://a,b",
        "redis://a:99999",
        "redis://a:x",
        "redis+cluster://",
        "redis+cluster://a/1",
        "redis+cluster://a,,b",
        "redis+sentinel://a",
        "redis+sentinel://a/",
        "redis+sentinel://a/lists/x",
    ],
)
def test_what_is_no_url_of_a_store_is_refused(url: str) -> None:
    with pytest.raises(StoreUrlError):
        parse_store_url(url)
