"""What the URL of a store says: one server, a cluster, or a primary that sentinels name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

_SERVER_PORT, _SENTINEL_PORT = 6379, 26379
_URL = re.compile(r"(?P<scheme>[a-z+]+)://(?P<user>[^@/?#]*@)?(?P<nodes>[^@/?#]*)(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?")
_PLACE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:\s]+)(?::(?P<port>\d{1,5}))?")
Kind: TypeAlias = Literal["server", "cluster", "sentinel"]
_KINDS: dict[str, Kind] = {"": "server", "cluster": "cluster", "sentinel": "sentinel"}


class StoreUrlError(ValueError):
    """A text that is no URL of a store; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """`kind` tells what the `nodes` are: hosts with ports. `service` is what sentinels call the primary.

    `plain` is the URL of the first node as that of a server of its own, with everything else that was said: scheme,
    user, database and query.
    """

    kind: Kind
    nodes: tuple[tuple[str, int], ...]
    plain: str
    service: str = ""

    @property
    def is_encrypted(self) -> bool:
        """Whether connections are over TLS."""
        return self.plain.startswith("rediss:")


def parse_store_url(url: str) -> StoreUrl:
    """Read `redis://`, `rediss://`, `unix://`, `redis+cluster://` or `redis+sentinel://`. Raises `StoreUrlError`.

    A cluster is given by some of its nodes, `redis+cluster://a:6379,b:6379`; sentinels with the service that they
    watch, `redis+sentinel://a:26379,b:26379/SERVICE`, and the number of a database behind that where it is not 0.
    `rediss+...` is the same over TLS.
    """
    if url.startswith("unix://"):
        return StoreUrl("server", (), url)
    found = _URL.fullmatch(url)
    tls, _, kind = (found["scheme"] if found is not None else "").partition("+")
    if found is None or tls not in ("redis", "rediss") or kind not in _KINDS:
        raise StoreUrlError("expected a URL, for example redis://localhost:6379/0")
    port = _SENTINEL_PORT if kind == "sentinel" else _SERVER_PORT
    nodes = tuple(_place(text, port) for text in found["nodes"].split(",")) if found["nodes"] or kind else ()
    user, query = found["user"] or "", found["query"] or ""
    _, _, path = (found["path"] or "").partition("/")
    if not kind:
        if len(nodes) > 1:
            raise StoreUrlError("several nodes are for redis+cluster:// or redis+sentinel://")
        return StoreUrl("server", nodes, url)
    service, database = "", path
    if kind == "sentinel":
        service, _, database = path.partition("/")
        if not service:
            raise StoreUrlError("expected redis+sentinel://HOST:PORT,HOST:PORT/SERVICE")
    elif database not in ("", "0"):
        raise StoreUrlError("a cluster has no database but 0")
    if database and not database.isdigit():
        raise StoreUrlError("the database must be a number")
    host, number = nodes[0]
    shown = f"[{host}]" if ":" in host else host
    plain = f"{tls}://{user}{shown}:{number}{f'/{database}' if database and kind == 'sentinel' else ''}{query}"
    return StoreUrl(_KINDS[kind], nodes, plain, service)


def _place(text: str, default_port: int) -> tuple[str, int]:
    found = _PLACE.fullmatch(text)
    if found is None or int(found["port"] or 0) > 65_535:
        raise StoreUrlError("each node must be HOST or HOST:PORT")
    return found["host"].strip("[]"), int(found["port"] or default_port)
