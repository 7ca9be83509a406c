"""PDQ codes to list and to ask about: uniform ones, and ones that crowd as those of pictures do."""

from __future__ import annotations

import numpy as np
from hashmatch_client._pictures import PictureHasher

from bench.data import Digests
from bench.drawings import draw

_SIZE = 32
_BITS = 256
# How far a near duplicate lies from the first of its family at most, and how large a family is at most.
_SPREAD = 16
_LARGEST_FAMILY = 5_000
# Bits that a hit differs in, of the 31 allowed; and so many that a code has nothing to do with the listed one any more.
_HIT, _MISS = 12, 64


def uniform(count: int, *, seed: int) -> Digests:
    """Random codes."""
    return np.frombuffer(np.random.default_rng(seed).bytes(count * _SIZE), np.uint8).reshape(count, _SIZE)


def clustered(count: int, pictures: int, *, seed: int) -> Digests:
    """Distinct codes of drawn pictures and of families of near duplicates around them; most families are small."""
    random = np.random.default_rng(seed)
    hasher = PictureHasher()
    firsts = np.stack([_code(hasher, number) for number in range(pictures)])
    parts = [firsts]
    total = len(firsts)
    while total < count + count // 20:
        size = min(_LARGEST_FAMILY, 2 + int(random.pareto(0.7) * 4))
        # A family around another picture, or around a copy of it that was altered beyond recognition.
        first = changed(firsts[random.integers(len(firsts))][None], int(random.integers(0, _MISS)), random)
        parts.append(_near(np.repeat(first, size, axis=0), random))
        total += size
    codes = np.unique(np.concatenate(parts), axis=0)
    return codes[random.permutation(len(codes))[:count]]


def hits(codes: Digests, count: int, *, seed: int) -> Digests:
    """Codes that lie near listed ones."""
    random = np.random.default_rng(seed)
    return changed(codes[random.integers(0, len(codes), count)], _HIT, random)


def changed(codes: Digests, bits: int, random: np.random.Generator) -> Digests:
    """Each code with so many different bits changed."""
    flags = np.unpackbits(codes, axis=1)
    chosen = np.argsort(random.random(flags.shape), axis=1)[:, :bits]
    np.put_along_axis(flags, chosen, np.take_along_axis(flags, chosen, axis=1) ^ 1, axis=1)
    return np.packbits(flags, axis=1)


def _near(codes: Digests, random: np.random.Generator) -> Digests:
    """Each code with up to `_SPREAD` bits changed."""
    masks = np.zeros((len(codes), _BITS), np.uint8)
    rows = np.repeat(np.arange(len(codes)), _SPREAD)
    kept = random.random(len(rows)) < random.random(len(codes))[rows]
    masks[rows[kept], random.integers(0, _BITS, len(rows))[kept]] = 1
    near: Digests = codes ^ np.packbits(masks, axis=1)
    return near


def _code(hasher: PictureHasher, seed: int) -> Digests:
    (found,) = hasher.of_image(draw(seed)).hashes
    return np.frombuffer(found.value, np.uint8)
