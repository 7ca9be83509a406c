"""`trust`: what mutual TLS, a policy and budgets cost a bulk client, beside a server that has none of them."""

from __future__ import annotations

import contextlib
import datetime
import statistics
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import grpc
import grpc.aio

from bench.data import BATCH, Question, questions, random_digests, write
from bench.exact import ask, ask_echo
from bench.harness import Rig, rig
from bench.load import in_turns
from bench.report import Effort, Reporter
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
_PLAIN = "plain text, no policy, no budgets"


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
            "nothing": await stack.enter_async_context(_side(made, "nothing", delivery)),
            "TLS and policy": await stack.enter_async_context(_side(made, "scoped", delivery, tls, _POLICY)),
            "budgets too": await stack.enter_async_context(_side(made, "guarded", delivery, tls, _POLICY + _BUDGET)),
        }
        echoes = {
            "echo": await stack.enter_async_context(made.echo()),
            "echo over TLS": await stack.enter_async_context(made.echo(tls.files, tls.credentials)),
        }
        await made.settle()
        reporter.progress(f"{size:,} entries: asking each side in turns")
        rates = await _in_turns(effort, sides, echoes, asked)
    for case in ("TLS and policy", "budgets too"):
        reporter.line(case, rates[case], "digests/s", "higher", _PLAIN, rates["nothing"])
    reporter.line("budgets too", rates["budgets too"], "digests/s", "higher", "TLS and policy", rates["TLS and policy"])
    reporter.line("echo over TLS", rates["echo over TLS"], "digests/s", "higher", "echo in plain text", rates["echo"])


async def _in_turns(
    effort: Effort,
    sides: dict[str, grpc.aio.Channel],
    echoes: dict[str, grpc.aio.Channel],
    asked: Sequence[Question],
) -> dict[str, float]:
    work = {name: partial(ask, channel, asked, seconds=effort.seconds) for name, channel in sides.items()}
    work |= {name: partial(ask_echo, channel, asked, seconds=effort.seconds) for name, channel in echoes.items()}
    rounds = await in_turns(effort.rounds, work, warm_up=True)
    return {name: statistics.median(found) for name, found in rounds.items()}


@contextlib.asynccontextmanager
async def _side(
    made: Rig, namespace: str, delivery: Path, tls: _Tls | None = None, policy: str = ""
) -> AsyncIterator[grpc.aio.Channel]:
    """A server with a store of its own, beside the others, and a channel to it."""
    settings: dict[str, object] = {"store.namespace": namespace}
    async with made.server(settings=settings) as server:
        await server.lists.deliver("bench", delivery, labelled=True)
        if policy:
            await server.lists.activate(policy)
    if tls is not None:
        settings |= tls.settings
    async with made.server(admin=False, settings=settings, credentials=tls and tls.credentials) as server:
        yield server.channel


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
        self.settings: dict[str, object] = {}
        for name, content in files.items():
            path = directory / f"{name}.pem"
            path.write_bytes(content)
            self.settings[f"tls.{name}"] = path
        self.files = [directory / f"{name}.pem" for name in files]
        self.credentials = grpc.ssl_channel_credentials(authority.certificate, client.key, client.certificate)
