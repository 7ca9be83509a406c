"""One fault tried: a store behind a proxy, servers, callers and a publisher, and the account of what was answered."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import grpc

from hashmatch.service.runner import Addresses
from hashmatch.trust.sealing import generate_key_file
from tests.faults.harness.acts import Acts
from tests.faults.harness.history import UNDETERMINED, Account, History
from tests.faults.harness.load import Load, ask_column
from tests.faults.harness.proxy import FaultProxy
from tests.faults.harness.stores import StoreProcess, free_port
from tests.faults.harness.table import Outcome, Row
from tests.integration.processes import ServerProcess
from tests.integration.serving import Background, Client
from tests.integration.waiting import eventually

# Generous: what recovers at all does so in a fraction of it, and how long it took is measured.
_RECOVERY_PATIENCE = 90.0
FIRST = "first"
# How much is shown of a log around what should not be in it.
_LOGGED = 3_000


class Group(Protocol):
    """A store of several servers."""

    @property
    def url(self) -> str:
        """What a server is configured with."""
        ...

    def start(self) -> None:
        """Start them, and make them one."""
        ...

    def stop(self) -> None:
        """End them, in whatever state they are."""
        ...


class Server:
    """One server process at addresses that stay the same, and a client of its own."""

    def __init__(self, name: str, process: ServerProcess, addresses: Addresses, client: Client) -> None:
        self.name = name
        self.process = process
        self.addresses = addresses
        self.client = client

    def start(self) -> None:
        self.process.start()

    def is_ready(self) -> bool:
        """Whether the readiness page says so; not, if there is none."""
        try:
            return self.client.page("/readyz").status == 200
        except OSError:
            return False


class Trial:
    """Everything that a row needs. `prepare` it once, and begin each from a copy."""

    def __init__(self, background: Background, directory: Path, row: Row) -> None:
        self.directory = directory
        self._row = row
        self.ending = ExitStack()
        self.history = History()
        self.load = Load(self.history)
        self.ending.callback(self.load.stop)
        self.store = StoreProcess(directory / "store")
        self.proxy = FaultProxy(background, self.store.port, gates=True)
        self.background = background
        self.servers: dict[str, Server] = {}
        # How clients connect: over TLS, say.
        self.connect: Callable[[Addresses], Client] = Client
        # Several servers in place of the one store; there is no proxy in front of them.
        self.group: Group | None = None
        self.acts = Acts(self.history, lambda: self.servers[FIRST].client)
        self.recovery: float | None = None
        self.notes: list[str] = []
        self.finished = False

    @property
    def first(self) -> Server:
        """The server that administers."""
        return self.servers[FIRST]

    # ---- before

    def begin(
        self,
        prepared: Path | None,
        *,
        servers: int = 1,
        store_settings: Mapping[str, str] | None = None,
        group: Group | None = None,
        **settings: object,
    ) -> None:
        """Start store, proxy and servers on a copy of what was prepared, and let callers ask.

        With a `group` that is started in place of the store, and nothing is prepared.
        """
        self.store.settings |= store_settings or {}
        if prepared is not None:
            shutil.copytree(prepared, self.directory, dirs_exist_ok=True)
        if group is not None:
            self.group = group
            self.ending.callback(group.stop)
            group.start()
        else:
            self.start_store()
        for number in range(servers):
            self.add_server(FIRST if number == 0 else f"server-{number + 1}", **settings)
        if prepared is None:
            self.acts.begin()
        else:
            self.acts.recall()
        self.settled()
        self.load.more()

    def start_store(self) -> None:
        """Start the store and the way to it."""
        self.ending.callback(self.store.stop)
        self.store.start()
        self.ending.callback(self.proxy.close)
        self.proxy.start()

    def add_server(self, name: str, *, asked: bool = True, wait: bool = True, **settings: object) -> Server:
        """Start a server of this name, and callers to it."""
        key_file = self.directory / "sealing.key"
        if not key_file.exists():
            generate_key_file(key_file)
        addresses = Addresses(*(f"127.0.0.1:{free_port()}" for _ in range(3)))
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        entry_point = settings.pop("entry_point", None)
        process = ServerProcess(
            directory,
            **({} if entry_point is None else {"entry_point": entry_point}),
            **{
                "server.listen": addresses.matching,
                "server.admin_listen": addresses.administration,
                "metrics.listen": addresses.metrics,
                "server.grace_seconds": 15,
                "store.url": self.group.url if self.group else f"redis://127.0.0.1:{self.proxy.port}",
                "store.operation_timeout": 0.5,
                "store.connect_timeout": 0.5,
                # The one user of the trial's store may do everything, and its operators have no keys to sign with.
                "store.excessive_rights": "allow",
                "approvals.signatures": "off",
                "sealing.key_file": key_file,
                # What was asked once would be answered from it, whatever became of the store.
                "matching.block_cache_bytes": 0,
                "logs.level": "info",
                **{key.replace("__", "."): value for key, value in settings.items()},
            },
        )
        server = self.servers[name] = Server(name, process, addresses, self.connect(addresses))
        self.ending.callback(process.stop)
        if wait:
            server.start()
        if asked:
            # A client of their own, which goes on asking when the server's own process is exchanged.
            client = self.connect(addresses)
            self.ending.callback(client.close)
            self.ending.callback(self.load.stop)
            self.load.ask(name, client, seed=len(self.servers))
        self.ending.callback(server.client.close)
        return server

    def client_proxy(self, name: str) -> FaultProxy:
        """A way to a server for more callers, through which they can be made to suffer."""
        addresses = self.servers[name].addresses
        proxy = FaultProxy(self.background, int(addresses.matching.rpartition(":")[2]))
        proxy.start()
        client = self.connect(replace(addresses, matching=f"127.0.0.1:{proxy.port}"))
        self.ending.callback(proxy.close)
        self.ending.callback(client.close)
        self.ending.callback(self.load.stop)
        # The same server, so that its epochs must not go back however it is reached.
        self.load.ask(name, client, seed=len(self.servers) + 100)
        return proxy

    # ---- meanwhile

    @contextmanager
    def fault(self, *, recovers: bool = True) -> Iterator[None]:
        """What is inside is the fault; at its end everything must become well again by itself."""
        yield
        if recovers:
            self.recover()

    def recover(self) -> None:
        """Wait until all is well again, and remember how long it took."""
        began = time.monotonic()
        self.settled()
        self.recovery = max(self.recovery or 0.0, time.monotonic() - began)
        self.load.more()

    def settled(self) -> None:
        """Wait until every server that runs answers everything, from the newest epoch, and is ready."""
        eventually(self._acts_settled, "the history can be read", patience=_RECOVERY_PATIENCE)
        for server in self.servers.values():
            if server.process.is_running:
                eventually(
                    lambda server=server: self._is_well(server), f"{server.name} is well", patience=_RECOVERY_PATIENCE
                )

    def unready(self) -> None:
        """Wait until no server says that it is ready."""
        for server in self.servers.values():
            eventually(lambda server=server: not server.is_ready(), "readiness falls")

    def note(self, text: str) -> None:
        """Something for the table."""
        self.notes.append(text)

    def _acts_settled(self) -> bool:
        try:
            self.acts.settle()
        except grpc.RpcError:
            return False
        return True

    def _is_well(self, server: Server) -> bool:
        try:
            epoch, _, said = ask_column(server.client)
        except grpc.RpcError:
            return False
        determined = all(each.verdict != UNDETERMINED for each in said)
        return determined and epoch >= self.history.newest and server.is_ready()

    # ---- after

    def finish(self) -> None:
        """Stop asking, and hold every answer against what was published. Fails if one was wrong."""
        self.load.stop()
        eventually(self._acts_settled, "the history can be read")
        account = self.history.check()
        for server in self.servers.values():
            before, found, after = server.process.log.partition("Traceback")
            assert not found, f"{server.name} logged {before[-_LOGGED:]}{found}{after[:_LOGGED]}"
        assert account.checked, "nothing was answered"
        assert not account.wrong, "\n".join(account.complaints)
        self.finished = True

    def outcome(self) -> Outcome:
        """The row of the table."""
        account: Account = self.history.account
        return Outcome(
            fault=self._row.fault,
            expected=self._row.expected,
            observed="; ".join((account.summary(), *self.notes)),
            recovery_seconds=None if self.recovery is None else round(self.recovery, 3),
            answers_checked=account.checked,
            wrong_answers=account.wrong,
            passed=self.finished,
        )

    def close(self) -> None:
        """End everything, in whatever state it is."""
        self.ending.close()


def prepare(background: Background, directory: Path, policy: str = "") -> Path:
    """A store and the data directory of a server with the two lists, stopped: what trials begin from copies of.

    A policy is put in force at the end.
    """
    trial = Trial(background, directory, Row("preparation", ""))
    try:
        trial.begin(None)
        trial.finish()
        if policy:
            trial.first.client.activate(policy)
    finally:
        trial.close()
    return directory
