"""Drawn clutter: a background of colour fields, patterned surfaces, shapes, strokes and light.

It shows no object of any class. It has what makes a localizer work in photographs: edges of every direction, thin
strokes, textures at several scales, and light that changes over the picture.
"""

from typing import TypeAlias

import numpy as np
from PIL import Image, ImageChops, ImageDraw

_Fill: TypeAlias = tuple[int, int, int]
_Rng: TypeAlias = np.random.Generator
_Size: TypeAlias = tuple[int, int]

_FINE = 2
"""Pixels that are drawn to one of the picture, each way, so that edges are smooth."""

_SURFACES = (1, 4)
_SHAPES = (8, 20)
_SWARM = (8, 24)
"""How many there are: at least, and fewer than."""


def draw_clutter(side: int, rng: _Rng) -> Image.Image:
    """Draw a background: a square RGB picture of `side` pixels."""
    size = (side * _FINE, side * _FINE)
    colours = _palette(rng)
    points = np.array(colours, np.uint8)[rng.integers(len(colours), size=rng.integers(2, 5, size=2))]
    picture = Image.fromarray(points).resize(size, Image.Resampling.BICUBIC)
    for _ in range(rng.integers(*_SURFACES)):
        _lay_surface(picture, colours, rng)
    for _ in range(rng.integers(*_SHAPES)):
        _draw_shape(picture, colours, rng)
    for light in ((0, 0, 0), (255, 255, 255)):
        picture.paste(light, None, _clouds(size, rng, finest=3).point([level // 3 for level in range(256)]))
    return picture.reduce(_FINE)


def _palette(rng: _Rng) -> list[_Fill]:
    """Eight colours that go together: dark to bright, of three hues, most of them muted."""
    light = rng.uniform(20, 235, (8, 1))
    hues = rng.uniform(-1, 1, (3, 3))[rng.integers(3, size=8)]
    colours = np.clip(light + rng.uniform(5, 75, (8, 1)) * hues, 0, 255).astype(int)
    return [(red, green, blue) for red, green, blue in colours.tolist()]


def _lay_surface(picture: Image.Image, colours: list[_Fill], rng: _Rng) -> None:
    """Lay a polygon with a pattern in two colours over a part of the picture."""
    size = picture.size
    region = Image.new("L", size)
    corners = rng.uniform(-0.3, 1.3, (rng.integers(3, 6), 2)) * size
    ImageDraw.Draw(region).polygon([(x, y) for x, y in corners.tolist()], fill=255)
    ground, figure = (colours[index] for index in rng.integers(len(colours), size=2))
    if rng.random() < 0.7:
        picture.paste(ground, None, region)
    pattern = _clouds(size, rng, finest=8) if rng.random() < 0.4 else _tiles(size, rng)
    picture.paste(figure, None, ImageChops.multiply(region, pattern))


def _tiles(size: _Size, rng: _Rng) -> Image.Image:
    """A pattern that repeats, turned at random: stripes, checks, bricks or dots; 0 and 255."""
    turn = rng.uniform(-np.pi, np.pi)
    cos, sin = int(np.rint(64 * np.cos(turn))), int(np.rint(64 * np.sin(turn)))
    x = np.arange(size[0], dtype=np.int32)
    y = np.arange(size[1], dtype=np.int32)[:, None]
    along, across = x * cos + y * sin, y * cos - x * sin  # in 64ths of a pixel
    period = int(64 * min(size) * np.exp(rng.uniform(-3.7, -1.8)))
    kind, thick = rng.integers(4), int(period * rng.uniform(0.1, 0.5))
    if kind == 0:
        inside = np.broadcast_to(along % period < thick, size[::-1])
    elif kind == 1:
        inside = (along // period + across // period) % 2 == 0
    elif kind == 2:
        shifted = along + (across // period) % 2 * (period // 2) * 2
        inside = (across % period < thick // 3) | (shifted % (2 * period) < thick // 3)
    else:
        inside = (along % period - period // 2) ** 2 + (across % period - period // 2) ** 2 < thick**2
    return Image.fromarray(inside.astype(np.uint8) * np.uint8(255))


def _clouds(size: _Size, rng: _Rng, *, finest: int) -> Image.Image:
    """Noise at scales of a half, a quarter, … of the picture down to 1/2^`finest`, with less weight the finer."""
    shorter = min(size)
    clouds = Image.new("L", size, 128)
    for scale in range(1, finest + 1):
        cells = 2**scale
        if cells > shorter:
            break
        shape = (max(2, cells * size[1] // shorter), max(2, cells * size[0] // shorter))
        noise = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        clouds = Image.blend(clouds, noise.resize(size, Image.Resampling.BILINEAR), 0.4)
    return clouds.point(_STRONGER)


_STRONGER = [min(255, max(0, (level - 128) * 2 + 128)) for level in range(256)]
"""A table that doubles the contrast."""


def _draw_shape(picture: Image.Image, colours: list[_Fill], rng: _Rng) -> None:
    """Draw one of: a polygon, an ellipse, strokes, an arc, or a swarm of spots."""
    draw, shorter = ImageDraw.Draw(picture), min(picture.size)
    x, y, chance = (rng.random(3) * (*picture.size, 1)).tolist()
    fill = colours[rng.integers(len(colours))]
    radius = shorter * float(np.exp(rng.uniform(-3.2, -1.0)))
    width = max(1, int(shorter * rng.uniform(0.004, 0.03)))
    if chance < 0.35:
        around = _ring(x, y, radius, int(rng.integers(3, 7)), rng)
        draw.polygon(around, fill=fill)
    elif chance < 0.5:
        wide, high = (radius * rng.uniform(0.3, 1, 2)).tolist()
        draw.ellipse((x - wide, y - high, x + wide, y + high), fill=fill, outline=fill)
    elif chance < 0.75:
        path = np.cumsum(rng.normal(0, 1.2 * radius, (rng.integers(2, 5), 2)), axis=0) + np.array([x, y])
        draw.line([(x, y) for x, y in path.tolist()], fill=fill, width=width, joint="curve")
    elif chance < 0.88:
        start, extent = (rng.uniform((0, 60), (360, 300))).tolist()
        draw.arc((x - radius, y - radius, x + radius, y + radius), start, start + extent, fill=fill, width=width)
    else:
        spots = rng.normal((x, y), radius, (rng.integers(*_SWARM), 2))
        sizes = shorter * rng.uniform(0.006, 0.03, (len(spots), 2))
        shades = rng.integers(len(colours), size=len(spots)).tolist()
        for ends, shade in zip(np.concatenate([spots - sizes, spots + sizes], axis=1).tolist(), shades, strict=True):
            draw.ellipse(ends, fill=colours[shade])


def _ring(x: float, y: float, radius: float, count: int, rng: _Rng) -> list[tuple[float, float]]:
    """Corners of a polygon around a point."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    far = radius * rng.uniform(0.5, 1.3, count)
    return [(px, py) for px, py in np.stack([x + far * np.cos(angles), y + far * np.sin(angles)], axis=1).tolist()]
