"""A process of a server with workers: the keeper or a worker, as its supervisor says. Started by that alone."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Sequence

from hashmatch.service.channel import Channel, Task
from hashmatch.service.link import Link
from hashmatch.service.process import FAILED, allow_many_files, end_with_parent, leave_libraries_to_themselves, run
from hashmatch.service.runner import Runner


def main(argv: Sequence[str] | None = None) -> int:
    """Take the task that comes over the inherited socket, and carry it out until told to stop."""
    parent, descriptor = map(int, sys.argv[1:] if argv is None else argv)
    end_with_parent(parent)
    allow_many_files()
    channel = Channel(socket.socket(fileno=descriptor))
    received = channel.receive()
    if received is None or not isinstance(received.message, Task):
        return FAILED
    task = received.message
    return run(task.config, _run(task, Link(channel, task)), process=task.role.name)


async def _run(task: Task, link: Link) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    runner = Runner(task.config, link=link, lost=lambda: loop.call_soon_threadsafe(stop.set))
    await runner.start()
    leave_libraries_to_themselves()
    try:
        await stop.wait()
    finally:
        await runner.stop()


if __name__ == "__main__":
    sys.exit(main())
