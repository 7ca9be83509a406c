"""Whether the store answers, keeps what it is given, and lets the server do its work; and whether the clocks agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hashmatch.operations.findings import Area, Finding
from hashmatch.service.config import Config
from hashmatch.service.config_section import MIB
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.inspection import OLDEST_VERSION, StoreFacts, inspect_store, refused_commands
from hashmatch.store.rights import excessive_rights
from hashmatch.store.store import Store

_AREA = Area("store")
_CLOCK = Area("clock")
# Of the memory that the store may use; a full delivery needs as much again as its list has.
_MUCH_MEMORY = 0.6
_ALL_MEMORY = 0.9
# In seconds. Expiry of certificates and manifests, ages of lists and dates of acts go by the clock.
_SMALL_OFFSET = 2.0
_LARGE_OFFSET = 60.0


def check_store(config: Config, store: Store) -> Iterator[Finding]:
    """What is to be said of the store. Ends after the first finding if it does not answer."""
    try:
        facts = {server.name: inspect_store(server, store.keys) for server in store.connection.servers()}
        writing, counting = bool(config.server.admin_listen), config.counts.enabled
        refused = list(
            dict.fromkeys(refused_commands(store.connection, store.keys, writing=writing, counting=counting))
        )
        excessive = () if config.store.embedded else excessive_rights(store.connection, store.keys, writes=writing)
    except StoreUnavailableError as error:
        yield unreachable(config, error)
        return
    yield _AREA.well(f"it answers: {', '.join(dict.fromkeys(map(_named, facts.values())))}")
    if refused:
        who = config.store.username or "the default user"
        yield _AREA.error(
            f"{who} may not run {', '.join(refused)} on the keys of {config.store.namespace}",
            "give the user what it needs: deploy/valkey/users.acl has a user for each kind of server",
        )
    else:
        yield _AREA.well("its user may run every command that this server needs")
    if excessive:
        yield _excess(config, tuple(excessive))
    elif not config.store.embedded:
        yield _AREA.well("its user may do nothing that this server has no use for")
    for name, told in facts.items():
        for finding in _check_server(config, told):
            yield replace(finding, what=f"{name}: {finding.what}" if name else finding.what)


def _check_server(config: Config, facts: StoreFacts) -> Iterator[Finding]:
    yield from _check_settings(facts)
    if not config.store.embedded:  # which has no limit of its own
        yield from _check_memory(facts)
    yield from _check_clock(facts)


def _excess(config: Config, rights: tuple[str, ...]) -> Finding:
    what = f"{config.store.username or 'the default user'} may {', '.join(rights)}: this server has no use for it"
    if config.refuses_excessive_rights:
        return _AREA.error(
            f"{what}, and does not serve",
            'give it a user as in deploy/valkey/users.acl; for a trial, store.excessive_rights = "allow"',
        )
    return _AREA.note(what, "give it a user as in deploy/valkey/users.acl, unless this is a trial")


def unreachable(config: Config, error: StoreUnavailableError) -> Finding:
    """The finding that the store does not answer."""
    if config.store.embedded:
        return _AREA.error(
            f"the embedded store: {error}",
            "start the server; if it runs, look at valkey/valkey.log in its data directory",
        )
    return _AREA.error(
        str(error),
        "see whether it runs, and whether network, TLS, user and password are right. Servers that run give exact "
        "negatives meanwhile, for matching.maximum_unconfirmed_seconds",
    )


def _named(facts: StoreFacts) -> str:
    if not facts.version:
        return "it does not say what it is"
    return f"{facts.product} {'.'.join(map(str, facts.version))}"


def _check_settings(facts: StoreFacts) -> Iterator[Finding]:
    if facts.version and facts.version < OLDEST_VERSION:
        yield _AREA.warning(
            f"{_named(facts)} is older than 7.2: it cannot say when what was published is on its disk (WAITAOF)",
            "replace it with Valkey, or Redis 7.2 or later",
        )
    if facts.role and facts.role != "master":
        yield _AREA.error(
            f"it is a {facts.role}: nothing can be published, and what it shows may lag",
            "let store.url name the primary, or Sentinel",
        )
    policy = facts.settings.get("maxmemory-policy")
    if policy is None:
        yield _AREA.note("it does not tell its settings", "make sure that its maxmemory-policy is noeviction")
    elif policy != "noeviction":
        yield _AREA.error(
            f"maxmemory-policy is {policy}: when its memory is full, blocks vanish without an error",
            "CONFIG SET maxmemory-policy noeviction, at once and in its configuration file; no server is ready before",
        )
    else:
        yield _AREA.well("it never evicts (maxmemory-policy noeviction)")
    if facts.evicted_keys:
        yield _AREA.error(
            f"{facts.evicted_keys:,} keys were evicted since it started",
            "some of them may have been blocks: see `lists` below, and the runbook on damaged blocks",
        )
    if facts.settings.get("appendonly") == "no":
        kept = facts.settings.get("save")
        yield _AREA.warning(
            "it keeps no append-only file" + (f", only snapshots ({kept})" if kept else " and no snapshots"),
            "set appendonly yes: as it is, a restart loses data, and the archive has to put them back",
        )
    if facts.failing_persistence:
        yield _AREA.error(
            "it cannot write to its disk (INFO persistence)",
            "make room there, or mend the permissions; its log says why",
        )


def _check_memory(facts: StoreFacts) -> Iterator[Finding]:
    if facts.used_memory is None:
        return
    used = f"{facts.used_memory // MIB:,} MiB"
    if not facts.maximum_memory:
        yield _AREA.note(
            f"{used} in use, without a limit (maxmemory 0)",
            "set one well below the machine's memory, so that writes fail first",
        )
        return
    share = facts.used_memory / facts.maximum_memory
    what = f"{used} of {facts.maximum_memory // MIB:,} MiB are in use ({share:.0%})"
    if share > _ALL_MEMORY:
        yield _AREA.error(what, "raise maxmemory: nothing can be staged or published when it is full")
    elif share > _MUCH_MEMORY:
        yield _AREA.warning(what, "raise maxmemory: a full delivery of a list needs its memory a second time")
    else:
        yield _AREA.well(what)


def _check_clock(facts: StoreFacts) -> Iterator[Finding]:
    if facts.clock_offset is None:
        yield _CLOCK.note("the store does not tell the time to this user", "permit TIME, to have clocks compared")
        return
    apart = max(0.0, abs(facts.clock_offset) - facts.round_trip)
    what = f"this machine's clock and the store's are {apart:.1f} s apart"
    mend = "synchronise both machines (NTP): ages of lists, certificates and the expiry of manifests go by the clock"
    if apart > _LARGE_OFFSET:
        yield _CLOCK.error(what, mend)
    elif apart > _SMALL_OFFSET:
        yield _CLOCK.warning(what, mend)
    else:
        yield _CLOCK.well(what)
