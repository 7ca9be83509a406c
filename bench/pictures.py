"""`pictures`: which share of altered pictures is found again by PDQ, and how many are hashed a second on one core."""

from __future__ import annotations

import asyncio
import io
import statistics
import time
from collections.abc import Mapping, Sequence

import numpy as np
from hashmatch_client import Hash
from hashmatch_client._pictures import PictureHasher
from hashmatch_client._wire import hash_message

from bench.data import hash_text
from bench.drawings import ALTERATIONS, draw, saved_as_jpeg
from bench.harness import BenchmarkError, rig
from bench.lists import PDQ_PROFILE
from bench.load import BatchMatch, until_answered
from bench.report import Effort, Reporter
from hashmatch.v1 import common_pb2, match_service_pb2

_DISTANCE = 31
_SIDES = ((1_200, 900), (2_400, 1_800), (4_000, 3_000))


async def run(reporter: Reporter, effort: Effort) -> None:
    """Measure both. Raises `BenchmarkError` if the server finds what is not near, or not what is."""
    hasher = PictureHasher()
    pictures = max(20, effort.calls)
    reporter.progress(f"draws {pictures:,} pictures and alters them")
    drawn = await asyncio.to_thread(_draw, hasher, pictures)
    await _found_again(reporter, *drawn)
    await asyncio.to_thread(_speed, reporter, hasher, effort)


def _draw(hasher: PictureHasher, pictures: int) -> tuple[list[Hash], dict[str, list[Hash]]]:
    """The hashes of drawn pictures, and by alteration those of the altered ones."""
    listed: list[Hash] = []
    altered: dict[str, list[Hash]] = {name: [] for name in ALTERATIONS}
    for seed in range(pictures):
        picture = draw(seed)
        listed += hasher.of_image(picture).hashes
        for name, alter in ALTERATIONS.items():
            altered[name] += hasher.of_image(alter(picture)).hashes
    return listed, altered


async def _found_again(reporter: Reporter, listed: Sequence[Hash], altered: Mapping[str, Sequence[Hash]]) -> None:
    """List the codes of the pictures on a server, and ask it about the altered ones as the client does."""
    codes = np.frombuffer(b"".join(each.value for each in listed), np.uint8).reshape(len(listed), -1)
    async with rig() as made, made.server() as server:
        ask = BatchMatch(server.channel)
        await until_answered(
            ask, await server.lists.deliver("bench", hash_text(codes), profile=PDQ_PROFILE), pdq=listed[0].value
        )
        for name, hashes in altered.items():
            items = [match_service_pb2.MatchItem(hashes=[hash_message(each)]) for each in hashes]
            answers = await ask(match_service_pb2.BatchMatchRequest(items=items).SerializeToString())
            found = [result.verdict == common_pb2.VERDICT_MATCH for result in answers.results]
            distances = [_distance(one, other) for one, other in zip(listed, hashes, strict=True)]
            # Alternates and other pictures may be near as well, so that more may be found, and never less.
            if any(distance <= _DISTANCE and not each for distance, each in zip(distances, found, strict=True)):
                raise BenchmarkError(f"{name}: a picture whose code is near is not found")
            under = reporter.under(
                pictures=len(hashes), median_distance=statistics.median(distances), longest_distance=max(distances)
            )
            under.line(f"found again: {name}", sum(found) / len(found), "share", "higher", "none", None)


def _speed(reporter: Reporter, hasher: PictureHasher, effort: Effort) -> None:
    for width, height in _SIDES:
        file = saved_as_jpeg(draw(0, width, height), 90)
        reporter.progress(f"hashes JPEGs of {width} by {height}")
        rates = []
        for _ in range(effort.rounds):
            began, cpu_began, hashed = time.perf_counter(), time.process_time(), 0
            while time.perf_counter() - began < effort.seconds:
                hasher.of_file(io.BytesIO(file))
                hashed += 1
            # The library of linear algebra may use another core: it is the processor's time that counts.
            rates.append(hashed / (time.process_time() - cpu_began))
        reporter.under(bytes=len(file)).line(
            f"JPEG of {width * height / 1e6:.0f} megapixels",
            statistics.median(rates),
            "pictures/s",
            "higher",
            "none",
            None,
        )


def _distance(one: Hash, other: Hash) -> int:
    return (int.from_bytes(one.value) ^ int.from_bytes(other.value)).bit_count()
