"""`hashmatch-server`: reads the configuration, composes, runs."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import grpc
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hashmatch.ingest.feeds.definition import FeedDefinitionError
from hashmatch.model.errors import HashmatchError
from hashmatch.service import config_text, logs
from hashmatch.service.bundling import export_bundle
from hashmatch.service.command_line import build_parser, flag_settings
from hashmatch.service.config import Config
from hashmatch.service.config_loader import ConfigurationError, LoadedConfig, load
from hashmatch.service.data_directory import DataDirectoryError
from hashmatch.service.listeners import ListenError
from hashmatch.service.runner import Runner
from hashmatch.service.secrets import SecretError
from hashmatch.store.archive import ArchiveError
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.floor import FloorError
from hashmatch.store.segments import StoreDamagedError
from hashmatch.trust.audit import AuditError
from hashmatch.trust.sealing import SealingKeyError, generate_key_file

DONE, FAILED, WRONG_USAGE = 0, 1, 2
_PROBE_TIMEOUT = 3.0
# Seconds after which a thread that wants the interpreter's lock asks for it.
_SWITCH_INTERVAL = 0.001


def main(argv: Sequence[str] | None = None) -> int:
    """Run `hashmatch-server`; returns the exit status that its help states."""
    arguments = build_parser().parse_args(argv)
    if arguments.command == "config-reference":
        sys.stdout.write(config_text.reference())
        return DONE
    if arguments.command == "keygen":
        return _keygen(arguments)
    try:
        loaded = load(file=arguments.config, environ=os.environ, flags=flag_settings(arguments))
    except ConfigurationError as error:
        for problem in error.problems:
            sys.stderr.write(f"hashmatch-server: {problem}\n")
        return WRONG_USAGE
    if arguments.command == "bundle-export":
        return _export(loaded, arguments)
    return _COMMANDS[arguments.command](loaded)


def _keygen(arguments: argparse.Namespace) -> int:
    try:
        generate_key_file(arguments.file)
    except SealingKeyError as error:
        return _fail(str(error))
    return DONE


def _export(loaded: LoadedConfig, arguments: argparse.Namespace) -> int:
    try:
        size = export_bundle(loaded.config, arguments.list_id, arguments.file)
    except FileExistsError:
        return _fail(f"{arguments.file} exists")
    except (
        HashmatchError,
        SealingKeyError,
        SecretError,
        StoreUnavailableError,
        StoreDamagedError,
        OSError,
    ) as error:
        return _fail(str(error))
    sys.stdout.write(f"{arguments.file}: {size} bytes\n")
    return DONE


def _show(loaded: LoadedConfig) -> int:
    sys.stdout.write(config_text.show(loaded))
    return DONE


def _serve(loaded: LoadedConfig) -> int:
    config = loaded.config
    # Importers are started by fork and exec. gRPC's own care for forks is for those that go on without exec, and only
    # warns here; it has to be told before the first of its objects is made.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    # A thread that comes back from the store waits for the interpreter's lock while the event loop is busy, by default
    # for five milliseconds: longer than the store takes.
    sys.setswitchinterval(_SWITCH_INTERVAL)
    logs.configure(level=config.logs.level, format=config.logs.format)
    try:
        uvloop.run(_run(config))
    except (
        FeedDefinitionError,
        HashmatchError,
        SealingKeyError,
        SecretError,
        FloorError,
        ArchiveError,
        AuditError,
        ListenError,
        DataDirectoryError,
        OSError,
    ) as error:
        return _fail(str(error))
    return DONE


async def _run(config: Config) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = Runner(config)
    await runner.start()
    try:
        await stop.wait()
    finally:
        await runner.stop()


def _healthcheck(loaded: LoadedConfig) -> int:
    config = loaded.config
    if config.tls.certificate_file:
        return _fail("healthcheck asks without a client certificate; probe /readyz instead")
    with grpc.insecure_channel(config.server.listen) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_PROBE_TIMEOUT)
        except grpc.RpcError:
            return _fail("the server does not answer")
    healthy = answer.status == health_pb2.HealthCheckResponse.SERVING
    sys.stdout.write("ready\n" if healthy else "not ready\n")
    return DONE if healthy else FAILED


_COMMANDS = {"serve": _serve, "config-show": _show, "healthcheck": _healthcheck}


def _fail(message: str) -> int:
    sys.stderr.write(f"hashmatch-server: {message}\n")
    return FAILED
