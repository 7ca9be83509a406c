"""`hashmatch-server`: reads the configuration, composes, runs."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hashmatch.model.clock import Clock
from hashmatch.model.errors import HashmatchError
from hashmatch.service import config_text
from hashmatch.service.bundling import export_bundle
from hashmatch.service.command_line import build_parser, flag_settings
from hashmatch.service.config import Config
from hashmatch.service.config_loader import ConfigurationError, LoadedConfig, load
from hashmatch.service.process import DONE, FAILED, WRONG_USAGE, fail, leave_libraries_to_themselves, run
from hashmatch.service.runner import Runner
from hashmatch.service.secrets import SecretError
from hashmatch.service.supervisor import Supervisor
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.segments import StoreDamagedError
from hashmatch.trust.sealing import SealingKeyError, generate_key_file, load_key_file

_PROBE_TIMEOUT = 3.0


def main(argv: Sequence[str] | None = None, *, clock: Clock | None = None) -> int:
    """Run `hashmatch-server`; returns the exit status that its help states. `clock` is the machine's unless given."""
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
    if arguments.command == "serve":
        return _serve(loaded, clock)
    return _COMMANDS[arguments.command](loaded)


def _keygen(arguments: argparse.Namespace) -> int:
    try:
        generate_key_file(arguments.file)
        made = load_key_file(arguments.file)
    except SealingKeyError as error:
        return fail(str(error))
    sys.stdout.write(f"{arguments.file}: key {made.key_id}\n")
    return DONE


def _export(loaded: LoadedConfig, arguments: argparse.Namespace) -> int:
    try:
        size = export_bundle(loaded.config, arguments.list_id, arguments.file)
    except FileExistsError:
        return fail(f"{arguments.file} exists")
    except (
        HashmatchError,
        SealingKeyError,
        SecretError,
        StoreUnavailableError,
        StoreDamagedError,
        OSError,
    ) as error:
        return fail(str(error))
    sys.stdout.write(f"{arguments.file}: {size} bytes\n")
    return DONE


def _show(loaded: LoadedConfig) -> int:
    sys.stdout.write(config_text.show(loaded))
    return DONE


def _serve(loaded: LoadedConfig, clock: Clock | None) -> int:
    return run(loaded.config, _run(loaded.config, clock))


async def _run(config: Config, clock: Clock | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = Runner(config, clock=clock) if config.server.workers == 1 else Supervisor(config, clock=clock)
    await server.start()
    leave_libraries_to_themselves()
    try:
        await stop.wait()
    finally:
        await server.stop()


def _healthcheck(loaded: LoadedConfig) -> int:
    config = loaded.config
    if config.tls.certificate_file:
        return fail("healthcheck asks without a client certificate; probe /readyz instead")
    with grpc.insecure_channel(config.server.listen) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_PROBE_TIMEOUT)
        except grpc.RpcError:
            return fail("the server does not answer")
    healthy = answer.status == health_pb2.HealthCheckResponse.SERVING
    sys.stdout.write("ready\n" if healthy else "not ready\n")
    return DONE if healthy else FAILED


_COMMANDS = {"config-show": _show, "healthcheck": _healthcheck}
