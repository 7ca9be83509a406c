"""Budgets: what clients have spent of theirs, in one place for all servers.

A client's record is a hash with a bucket of tokens, the hits of the day and a pause, and beside it the registers of the
day's sketch. Both are plain numbers under derived names: how much somebody asked, and nothing of what. They are changed
by one script, so that servers add up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from hashmatch.store.connection import Connection
from hashmatch.store.keys import Keys
from hashmatch.trust.sealing import SealingKey

_ID_BYTES = 8
# Longer than a day is of use to anybody, whatever the clocks say.
_KEPT_SECONDS = 3 * 86_400


class Settlement(NamedTuple):
    """What a server tells of a client.

    `rate` is in hashes a second, 0 for none. `owed` was spent beyond what was allotted, or, negative, is given back;
    `wanted` is to be allotted. Negative `hits` were told before and are taken back. `raised` are registers (index,
    rank) of the day's sketch, `version` that of the sketch as last seen. `pause_seconds`, if it is not 0, begins a
    pause.
    """

    day: str
    rate: float = 0.0
    burst: float = 0.0
    owed: float = 0.0
    wanted: float = 0.0
    hits: int = 0
    raised: Iterable[tuple[int, int]] = ()
    version: int = 0
    pause_seconds: float = 0.0


class Settled(NamedTuple):
    """What a server is told of a client. `sketch` is that of the day as all servers raised it, None if it is as known.

    `wait` is in seconds, how long until something can be allotted; `pause` how long a pause still lasts, 0 for none.
    """

    allotted: float
    wait: float
    hits: int
    version: int
    sketch: bytes | None
    pause: float


class BudgetStore:
    """Settles budgets. Methods raise `StoreUnavailableError`."""

    def __init__(self, connection: Connection, keys: Keys, sealing_key: SealingKey) -> None:
        self._connection = connection
        self._keys = keys
        self._sealing_key = sealing_key
        self._script = connection.script(_SETTLE)

    def settle(self, client: str, told: Settlement) -> Settled:
        """Add what a server tells of a client to what others told."""
        client_id = self._sealing_key.derive(client.encode(), b"budget id")[:_ID_BYTES].hex()
        record, sketch = self._keys.budget(client_id), self._keys.budget_sketch(client_id, told.day)
        raised = b"".join(index.to_bytes(2, "big") + rank.to_bytes(1, "big") for index, rank in told.raised)
        allotted, wait, hits, version, found, pause = self._script(
            [record, sketch],
            [
                told.day,
                repr(told.rate),
                repr(told.burst),
                repr(told.owed),
                repr(told.wanted),
                str(told.hits),
                raised,
                str(told.version),
                repr(told.pause_seconds),
                str(_KEPT_SECONDS),
            ],
        )
        return Settled(float(allotted), float(wait), int(hits), int(version), found or None, float(pause))


_SETTLE = """
local day, rate, burst = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local owed, wanted, raised = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[7]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local state = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'day', 'hits', 'version', 'pause')

local allotted, wait = 0, 0
if rate > 0 then
  local tokens = tonumber(state[1]) or burst
  tokens = math.min(burst, tokens + math.max(0, now - (tonumber(state[2]) or now)) * rate) - owed
  -- Whole hashes, so that crumbs of several servers do not make one too many.
  allotted = math.floor(math.max(0, math.min(wanted, tokens)))
  tokens = math.min(burst, tokens - allotted)
  if tokens < 1 then wait = (1 - tokens) / rate end
  redis.call('HSET', KEYS[1], 'tokens', string.format('%.17g', tokens), 'at', string.format('%.17g', now))
end

local hits, version = tonumber(state[4]) or 0, tonumber(state[5]) or 0
-- Days only move on: a server whose clock is behind adds to the newer one.
if not state[3] or state[3] < day then
  hits, version = 0, 0
  redis.call('HSET', KEYS[1], 'day', day)
end
hits = hits + tonumber(ARGV[6])

local rises = 0
for at = 1, #raised, 3 do
  local high, low, rank = string.byte(raised, at, at + 2)
  local index = high * 256 + low
  local known = redis.call('GETRANGE', KEYS[2], index, index)
  if known == '' or string.byte(known) < rank then
    redis.call('SETRANGE', KEYS[2], index, string.char(rank))
    rises = 1
  end
end
version = version + rises

local pause = tonumber(state[6]) or 0
if tonumber(ARGV[9]) > 0 then pause = math.max(pause, now + tonumber(ARGV[9])) end
redis.call('HSET', KEYS[1], 'hits', hits, 'version', version, 'pause', string.format('%.17g', pause))
redis.call('EXPIRE', KEYS[1], ARGV[10])
redis.call('EXPIRE', KEYS[2], ARGV[10])

-- What this server raised it knows: the sketch is of use only if others did.
local sketch = ''
if version - rises ~= tonumber(ARGV[8]) then sketch = redis.call('GETRANGE', KEYS[2], 0, -1) end
return {string.format('%.17g', allotted), string.format('%.17g', wait), hits, version, sketch,
  string.format('%.17g', math.max(0, pause - now))}
"""
