"""Abstract pictures: soft light over a gradient, with a few rings; drawn small and enlarged, so that size is cheap."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image, ImageDraw

from studio_worker.engines.synthetic.digest import Dice

DRAWN_SIDE = 512
"""The longest side that is drawn; larger pictures are enlarged from it, which a soft picture bears."""

LAYERS = 10

Colour: TypeAlias = tuple[int, int, int]

_EDGE = 179
"""What Pillow's radial gradient has risen to at the middle of its edges; its corners are at 255."""

_FALL_OFF = [round(235 * (1 - min(value, _EDGE) / _EDGE) ** 1.6) for value in range(256)]
"""Distance from the centre to the strength of a light: soft, and nothing at the edge."""


@dataclass(frozen=True, slots=True)
class _Light:
    """A soft disc: centre and radius in parts of the longer side, and how it moves in a film."""

    x: float
    y: float
    radius: float
    colour: Colour
    orbit: float
    turns: int
    phase: float


class Scene:
    """One picture's recipe, which follows from its seed; `paint` draws it at any moment of a film.

    Args:
        seed: what the picture follows from.
        width: pixels.
        height: pixels.
    """

    def __init__(self, seed: str, width: int, height: int) -> None:
        dice = Dice(seed)
        shrink = min(1.0, DRAWN_SIDE / max(width, height))
        self.size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        hue = dice.between(0, 1)
        self._sky = _colour(hue, 0.65, 0.16), _colour(hue + dice.between(0.06, 0.16), 0.75, 0.5)
        self._angle = dice.below(360)
        self._lights = tuple(
            _Light(
                x=dice.between(0.05, 0.95),
                y=dice.between(0.05, 0.95),
                radius=dice.between(0.18, 0.55),
                colour=_colour(hue + dice.between(-0.14, 0.32), dice.between(0.45, 0.95), dice.between(0.65, 1)),
                orbit=dice.between(0.02, 0.14),
                turns=dice.choice((-2, -1, 1, 2)),
                phase=dice.between(0, math.tau),
            )
            for _ in range(LAYERS - 2)
        )
        self._rings = tuple(
            (dice.between(0.1, 0.9), dice.between(0.1, 0.9), dice.between(0.06, 0.3), 40 + dice.below(110))
            for _ in range(4)
        )

    def paint(self, moment: float = 0.0) -> Iterator[Image.Image]:
        """Paint in `LAYERS` layers; each step yields the same picture, further on.

        Args:
            moment: 0 to 1, the place in a film that ends where it began.
        """
        picture = self._background()
        yield picture
        width, height = self.size
        side = max(width, height)
        disc = Image.radial_gradient("L").point(_FALL_OFF)
        for light in self._lights:
            angle = light.phase + math.tau * light.turns * moment
            span = max(2, round(2 * light.radius * side))
            left = round((light.x + light.orbit * math.cos(angle)) * width - span / 2)
            top = round((light.y + light.orbit * math.sin(angle)) * height - span / 2)
            mask = disc.resize((span, span), Image.Resampling.BILINEAR)
            picture.paste(light.colour, (left, top, left + span, top + span), mask)
            yield picture
        self._draw_rings(picture, moment)
        yield picture

    def _background(self) -> Image.Image:
        dark, bright = self._sky
        ramp = Image.linear_gradient("L").rotate(self._angle, Image.Resampling.BILINEAR, fillcolor=self._angle % 256)
        ramp = ramp.crop((48, 48, 208, 208)).resize(self.size, Image.Resampling.BILINEAR)
        bands = [
            ramp.point([low + (high - low) * value // 255 for value in range(256)])
            for low, high in zip(dark, bright, strict=True)
        ]
        return Image.merge("RGB", bands)

    def _draw_rings(self, picture: Image.Image, moment: float) -> None:
        width, height = self.size
        side = max(width, height)
        pen = ImageDraw.Draw(picture, "RGBA")
        for number, (x, y, radius, opacity) in enumerate(self._rings):
            reach = radius * side * (1 + 0.12 * math.sin(math.tau * moment + number))
            box = (x * width - reach, y * height - reach, x * width + reach, y * height + reach)
            pen.ellipse(box, outline=(255, 255, 255, opacity), width=max(1, side // 300))


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)
