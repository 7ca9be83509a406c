"""Pictures: which share of altered pictures is found again by PDQ, and how many are hashed in a second on one core."""

from __future__ import annotations

import asyncio
import io
import statistics
import time

from hashmatch_client import Hash
from hashmatch_client._pictures import PictureHasher

from bench.drawings import ALTERATIONS, draw, saved_as_jpeg
from bench.report import Effort, Reporter

_DISTANCE = 31
_SIDES = ((1_200, 900), (2_400, 1_800), (4_000, 3_000))


async def run(reporter: Reporter, effort: Effort) -> None:
    """Measure both. Nothing is served: what is asked is whether the codes are close enough."""
    hasher = PictureHasher()
    await asyncio.to_thread(_altered, reporter, hasher, max(20, effort.calls))
    await asyncio.to_thread(_speed, reporter, hasher, effort)


def _altered(reporter: Reporter, hasher: PictureHasher, pictures: int) -> None:
    reporter.progress(f"draws {pictures:,} pictures")
    distances: dict[str, list[int]] = {name: [] for name in ALTERATIONS}
    for seed in range(pictures):
        picture = draw(seed)
        (listed,) = hasher.of_image(picture).hashes
        for name, altered in ALTERATIONS.items():
            (found,) = hasher.of_image(altered(picture)).hashes
            distances[name].append(_distance(listed, found))
    for name, each in distances.items():
        share = sum(distance <= _DISTANCE for distance in each) / pictures
        conditions = {"pictures": pictures, "median_distance": statistics.median(each), "longest_distance": max(each)}
        reporter.under(**conditions).line(f"found again: {name}", share, "share", "higher", "none", None)


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
