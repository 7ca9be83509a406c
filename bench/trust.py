"""`trust`: what TLS, a policy, budgets, the log of answers and receipts cost, beside a server with none of them."""

from __future__ import annotations

import contextlib
import datetime
import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import grpc
import grpc.aio

from bench.data import BATCH, Question, questions, random_digests, write
from bench.exact import ask, ask_echo
from bench.harness import Rig, Server, rig
from bench.lists import LABELLED_PROFILE
from bench.load import in_turns
from bench.report import Effort, Reporter
from hashmatch.operations.audit import make_key
from hashmatch.trust.pki import Authority

_QUESTIONS = 96
_HITS = BATCH // 1_000
_CLIENT = "spiffe://bench/clients/platform"
_POLICY = """
version = 1
[clients.platform]
identities = ["spiffe://bench/clients/platform"]
lists = ["*"]
natures = ["*"]
algorithms = ["*"]
jurisdictions = ["*"]
opinions = "full"
"""
# So much that none of it is ever spent: what is measured is the counting.
_BUDGET = """
[clients.platform.budget]
hashes_per_second = 1e9
distinct_hashes_per_day = 1_000_000_000
hits_per_day = 1_000_000_000
near_duplicates = 10_000
"""
_PLAIN = "plain text, no policy, no budgets, no log of answers, no receipts"
_NO_LOG: dict[str, object] = {"audit.answers": "off"}


class _Cost(NamedTuple):
    """Digests a second, and the processor time of the server in seconds for a million of them."""

    rate: float
    processor: float


async def run(reporter: Reporter, effort: Effort) -> None:
    """Measure."""
    for size in effort.sizes:
        reporter.progress(f"{size:,} entries: loading the list for each side")
        async with rig() as made:
            await _run(made, reporter.under(entries=size, batch=BATCH, **made.conditions), effort, size)


async def _run(made: Rig, reporter: Reporter, effort: Effort, size: int) -> None:
    listed = random_digests(size, seed=1)
    delivery = write(made.directory / "delivery", listed, labelled=True)
    asked = questions(listed, _QUESTIONS, hits=_HITS, seed=2)
    tls = _Tls(made.directory)
    async with contextlib.AsyncExitStack() as stack:
        sides = {
            "nothing": await stack.enter_async_context(_side(made, "nothing", delivery, more=_NO_LOG)),
            "TLS and policy": await stack.enter_async_context(
                _side(made, "scoped", delivery, tls, _POLICY, more=_NO_LOG)
            ),
            "budgets too": await stack.enter_async_context(
                _side(made, "guarded", delivery, tls, _POLICY + _BUDGET, more=_NO_LOG)
            ),
            "log of answers too": await stack.enter_async_context(
                _side(made, "audited", delivery, tls, _POLICY + _BUDGET)
            ),
            "receipts too": await stack.enter_async_context(
                _side(made, "signed", delivery, tls, _POLICY + _BUDGET, more=_signing(made.directory))
            ),
        }
        echoes = {
            "echo": await stack.enter_async_context(made.echo()),
            "echo over TLS": await stack.enter_async_context(made.echo(tls.files, tls.credentials)),
        }
        await made.settle()
        reporter.progress(f"{size:,} entries: asking each side in turns")
        found = await _in_turns(effort, sides, echoes, asked)
    guarded = [case for case in sides if case != "nothing"]
    for case in guarded:
        reporter.line(case, found[case].rate, "digests/s", "higher", _PLAIN, found["nothing"].rate)
    for before, case in pairwise(guarded):
        reporter.line(case, found[case].rate, "digests/s", "higher", before, found[before].rate)
    for case in guarded:
        name, unit = f"{case}, the server's processor", "s/1M digests"
        reporter.line(name, found[case].processor, unit, "lower", _PLAIN, found["nothing"].processor)
    tls, plain = found["echo over TLS"].rate, found["echo"].rate
    reporter.line("echo over TLS", tls, "digests/s", "higher", "echo in plain text", plain)


async def _in_turns(
    effort: Effort,
    sides: dict[str, Server],
    echoes: dict[str, grpc.aio.Channel],
    asked: Sequence[Question],
) -> dict[str, _Cost]:
    work = {name: partial(_cost, server, asked, effort.seconds) for name, server in sides.items()}
    work |= {name: partial(_cost_of_echo, channel, asked, effort.seconds) for name, channel in echoes.items()}
    rounds = await in_turns(effort.rounds, work, warm_up=True)
    return {name: _Cost(*map(statistics.median, zip(*found, strict=True))) for name, found in rounds.items()}


async def _cost(server: Server, asked: Sequence[Question], seconds: float) -> _Cost:
    before = server.child.processor_seconds()
    rate = await ask(server.channel, asked, seconds=seconds)
    return _Cost(rate, (server.child.processor_seconds() - before) / (rate * seconds) * 1e6)


async def _cost_of_echo(channel: grpc.aio.Channel, asked: Sequence[Question], seconds: float) -> _Cost:
    return _Cost(await ask_echo(channel, asked, seconds=seconds), 0.0)


@contextlib.asynccontextmanager
async def _side(
    made: Rig,
    namespace: str,
    delivery: Path,
    tls: _Tls | None = None,
    policy: str = "",
    *,
    more: Mapping[str, object] | None = None,
) -> AsyncIterator[Server]:
    """A server with a store of its own, beside the others."""
    settings: dict[str, object] = {"store.namespace": namespace, **(more or {})}
    async with made.server(settings=settings) as server:
        await server.lists.deliver("bench", delivery, profile=LABELLED_PROFILE)
        if policy:
            await server.lists.activate(policy)
    if tls is not None:
        settings |= tls.settings
    async with made.server(admin=False, settings=settings, credentials=tls and tls.credentials) as server:
        yield server


def _signing(directory: Path) -> dict[str, object]:
    """The settings of a server that signs every answer."""
    make_key(directory / "proof.key", "bench/server")
    return {
        "proof.name": "bench/server",
        "proof.key_file": directory / "proof.key",
        "proof.receipts": "always",
    }


class _Tls:
    """The settings of a server over TLS, and what its client shows."""

    def __init__(self, directory: Path) -> None:
        now, lifetime = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
        authority = Authority.create("bench", now=now, lifetime=lifetime)
        server = authority.issue_to_server(["127.0.0.1"], now=now, lifetime=lifetime)
        client = authority.issue_to_caller(_CLIENT, now=now, lifetime=lifetime)
        files = {
            "certificate_file": server.certificate,
            "key_file": server.key,
            "client_ca_file": authority.certificate,
        }
        # The benchmarks' own store has one user, who may do everything.
        self.settings: dict[str, object] = {"store.excessive_rights": "allow"}
        for name, content in files.items():
            path = directory / f"{name}.pem"
            path.write_bytes(content)
            self.settings[f"tls.{name}"] = path
        self.files = [directory / f"{name}.pem" for name in files]
        self.credentials = grpc.ssl_channel_credentials(authority.certificate, client.key, client.certificate)
