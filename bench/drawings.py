"""Draws pictures that look somewhat like photographs, and alters them as pictures are altered on their way about."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_WAVES = 28
_SHAPES = 9

Plane = NDArray[np.float32]


def draw(seed: int, width: int = 640, height: int = 480) -> Image.Image:
    """A picture in colours: light that falls off, clouds, blurred things, things with edges, and grain."""
    random = np.random.default_rng(seed)
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    across = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    light = down * random.uniform(-90, 90) + across * random.uniform(-90, 90)
    clouds = light + _clouds(random, down, across) + random.uniform(-6, 6, (height, width)).astype(np.float32)
    base, tint = random.uniform(60, 160, 3), random.uniform(0.6, 1, 3)
    planes = [base[colour] + tint[colour] * clouds for colour in range(3)]
    for number in range(_SHAPES):
        cover = _shape(random, down, across, blurred=number % 2 == 0)
        for plane, shade in zip(planes, random.uniform(0, 255, 3), strict=True):
            plane += cover * (np.float32(shade) - plane)
    return Image.fromarray(np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8))


def _clouds(random: np.random.Generator, down: Plane, across: Plane) -> Plane:
    """Ripples that are the weaker the finer they are, as in most photographs."""
    frequencies = 2 ** random.uniform(0, 6, _WAVES)
    directions, phases = random.uniform(0, np.pi, _WAVES), random.uniform(0, 2 * np.pi, _WAVES)
    vertical = np.exp(1j * (down * np.pi * frequencies * np.sin(directions) + phases))
    horizontal = np.exp(1j * (across.T * np.pi * frequencies * np.cos(directions)))
    return np.real((vertical * 45 / frequencies**0.6) @ horizontal.T).astype(np.float32)


def _shape(random: np.random.Generator, down: Plane, across: Plane, *, blurred: bool) -> Plane:
    """How far each place is covered, 0 to 1, by an ellipse, blurred or not, that is turned some way."""
    y, x = random.uniform(0.05, 0.95, 2)
    radii = random.uniform(0.04, 0.3, 2)
    angle = random.uniform(0, np.pi)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    lengthwise = (across - x) * cosine + (down - y) * sine
    sideways = (down - y) * cosine - (across - x) * sine
    distance = ((lengthwise / radii[0]) ** 2 + (sideways / radii[1]) ** 2).astype(np.float32)
    return np.exp(-distance) if blurred else (distance < 1) * np.float32(random.uniform(0.5, 1))


def saved_as_jpeg(picture: Image.Image, quality: int) -> bytes:
    """The picture as a JPEG file of that quality."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def re_saved(picture: Image.Image) -> Image.Image:
    """The picture after it was saved as JPEG of quality 30."""
    return Image.open(io.BytesIO(saved_as_jpeg(picture, 30)))


def halved(picture: Image.Image) -> Image.Image:
    """The picture at half its width and height."""
    return picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)


def captioned(picture: Image.Image) -> Image.Image:
    """The picture with a small line of white writing, outlined in black, near its lower edge."""
    altered = picture.copy()
    size = max(8, picture.height // 25)
    place = (picture.width // 2, picture.height - size)
    ImageDraw.Draw(altered).text(
        place, "a caption of a few words", "white", anchor="ms", font_size=size, stroke_width=1, stroke_fill="black"
    )
    return altered


def barred(picture: Image.Image) -> Image.Image:
    """The picture with a black bar across a twentieth of its height, as some programs put writing on."""
    altered = picture.copy()
    ImageDraw.Draw(altered).rectangle((0, 0.9 * picture.height, picture.width, 0.95 * picture.height), "black")
    return altered


ALTERATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 30": re_saved,
    "half the size": halved,
    "a small caption": captioned,
    "a black bar across": barred,
}
