"""What can be wrong with a configuration although each value is within its own range."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hashmatch.service.addresses import UNIX_PREFIX, AddressError, mask_url, parse_address
from hashmatch.service.config import Config
from hashmatch.service.config_section import KIB
from hashmatch.store.urls import StoreUrlError, parse_store_url
from hashmatch.trust.checkpoints import is_name

# The longest digest that BulkMatch takes, and what a message holds beside its column.
_LARGEST_DIGEST = 144
_MESSAGE_OVERHEAD = 64 * KIB


class Problem(NamedTuple):
    """Something wrong with the value of `key`, given as `section.key`."""

    key: str
    text: str


def problems(config: Config) -> Iterator[Problem]:
    """What is wrong with the values taken together. Nothing here looks at a file or the network."""
    yield from _listener_problems(config)
    yield from _tls_problems(config)
    yield from _store_problems(config)
    yield from _sealing_problems(config)
    needed = config.server.maximum_bulk_digests * _LARGEST_DIGEST + _MESSAGE_OVERHEAD
    if config.server.maximum_message_bytes < needed:
        yield Problem(
            "server.maximum_message_bytes",
            f"must be at least {needed} for server.maximum_bulk_digests of {_LARGEST_DIGEST} bytes each",
        )
    yield from _proof_problems(config)
    if config.feeds.file and not config.server.admin_listen:
        yield Problem("feeds.file", "needs server.admin_listen: a server without administration takes in nothing")
    if config.matching.maximum_unconfirmed_seconds <= config.store.poll_interval:
        yield Problem("matching.maximum_unconfirmed_seconds", "must be longer than store.poll_interval")


def _listener_problems(config: Config) -> Iterator[Problem]:
    plaintext = not config.tls.certificate_file
    listeners = {"server.listen": config.server.listen}
    if config.server.admin_listen:
        listeners["server.admin_listen"] = config.server.admin_listen
    if config.metrics.listen:
        listeners["metrics.listen"] = config.metrics.listen
    if config.server.workers > 1 and config.server.listen.startswith(UNIX_PREFIX):
        yield Problem("server.workers", "more than one cannot share a unix socket: listen on HOST:PORT")
    taken: dict[str, str] = {}
    for key, text in listeners.items():
        try:
            address = parse_address(text)
        except AddressError as error:
            yield Problem(key, str(error))
            continue
        if address.is_unix or address.port:
            other = taken.setdefault(str(address), key)
            if other != key:
                yield Problem(key, f"is the same address as {other}")
        if key == "metrics.listen":
            if address.is_unix:
                yield Problem(key, "must be HOST:PORT")
        elif plaintext and not address.is_local:
            yield Problem(key, "needs tls.certificate_file, because it can be reached from other machines")


def _tls_problems(config: Config) -> Iterator[Problem]:
    tls, access = config.tls, config.access
    if tls.certificate_file:
        for name in ("key_file", "client_ca_file"):
            if not getattr(tls, name):
                yield Problem(f"tls.{name}", "is required with tls.certificate_file")
        same_authority = tls.admin_client_ca_file in ("", tls.client_ca_file)
        if config.server.admin_listen and same_authority and not access.administration:
            yield Problem(
                "access.administration",
                "name who may administer, or set tls.admin_client_ca_file: as it is, every client could",
            )
        return
    for name in ("key_file", "client_ca_file", "admin_client_ca_file"):
        if getattr(tls, name):
            yield Problem(f"tls.{name}", "is of no use without tls.certificate_file")
    for name in ("matching", "administration"):
        if getattr(access, name):
            yield Problem(f"access.{name}", "needs TLS: without it nobody's identity is proven")


def _sealing_problems(config: Config) -> Iterator[Problem]:
    sealing = config.sealing
    files = [file for file in (sealing.key_file, sealing.next_key_file, *sealing.old_key_files) if file]
    if len(set(files)) < len(files):
        yield Problem("sealing.old_key_files", "names a key that is in use, or one twice")


def _proof_problems(config: Config) -> Iterator[Problem]:
    proof = config.proof
    if proof.key_file and not proof.name:
        yield Problem("proof.name", "is required with proof.key_file")
    if proof.name and not is_name(proof.name):
        yield Problem("proof.name", "must have neither spaces nor +")
    if proof.name and not proof.key_file:
        yield Problem("proof.name", "is of no use without proof.key_file")
    if proof.receipts == "always" and not proof.key_file:
        yield Problem("proof.receipts", "needs proof.key_file, with which receipts are signed")


def _store_problems(config: Config) -> Iterator[Problem]:
    store = config.store
    if store.embedded:
        for name in ("username", "password_file"):
            if getattr(store, name):
                yield Problem(f"store.{name}", "is of no use with the embedded store")
        return
    try:
        parse_store_url(mask_url(store.url))
    except StoreUrlError as error:
        yield Problem("store.url", str(error))
    if mask_url(store.url) != store.url:
        yield Problem("store.url", f"{mask_url(store.url)} has a password: put it into store.password_file")
    if store.username and not store.password_file:
        yield Problem("store.password_file", "is required with store.username")
    if not config.sealing.key_file:
        yield Problem("sealing.key_file", "is required with a store of your own: make it with hashmatch-server keygen")
