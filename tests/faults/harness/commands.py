"""What a client says to Redis, cut into commands, so that a fault can strike between two of them."""

from __future__ import annotations

from typing import NamedTuple

# Of which a gate looks at the name and at where it writes.
_KEPT_ARGUMENTS = 4
# Scripts name their first key behind themselves and the number of keys.
_SCRIPTS = frozenset((b"EVAL", b"EVALSHA"))


class Command(NamedTuple):
    """One command: its name in capitals, its first key (empty for none), and its bytes as they were sent."""

    name: bytes
    key: bytes
    raw: bytes


class CommandReader:
    """Cuts a stream of RESP requests into commands. It trusts its client: this is for tests."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Command]:
        """The commands that are whole now."""
        self._pending += data
        commands = []
        while (command := self._next()) is not None:
            commands.append(command)
        return commands

    def _next(self) -> Command | None:
        found = self._line(0)
        if found is None:
            return None
        head, place = found
        assert head[:1] == b"*", "not a command"
        arguments: list[bytes] = []
        for _ in range(int(head[1:])):
            found = self._line(place)
            if found is None:
                return None
            head, place = found
            size = int(head[1:])
            end = place + size + 2
            if end > len(self._pending):
                return None
            if len(arguments) < _KEPT_ARGUMENTS:
                arguments.append(bytes(self._pending[place : place + size]))
            place = end
        raw = bytes(self._pending[:place])
        del self._pending[:place]
        name = arguments[0].upper()
        at = 3 if name in _SCRIPTS else 1
        return Command(name, arguments[at] if at < len(arguments) else b"", raw)

    def _line(self, start: int) -> tuple[bytes, int] | None:
        end = self._pending.find(b"\r\n", start)
        return None if end < 0 else (bytes(self._pending[start:end]), end + 2)
