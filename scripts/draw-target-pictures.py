#!/usr/bin/env python3
"""Draws the pictures that circuits are given: circuits/pictures/{eye,sunflower,lighthouse}.png.

They are procedural, so that they can be shipped freely; any other PNG or JPEG file serves as well. Needs nothing but
Python's standard library.
"""

import math
import struct
import sys
import zlib
from pathlib import Path

SIDE = 256
# Each pixel is the mean of this many samples a side.
SAMPLES = 2


def mix(a, b, t):
    t = min(max(t, 0.0), 1.0)
    return tuple(x + (y - x) * t for x, y in zip(a, b))


def eye(x, y):
    """A blue eye on warm skin. x and y go from -1 to 1."""
    skin = mix((0.96, 0.72, 0.55), (0.80, 0.45, 0.35), abs(y) * 0.9)
    lid = 0.62 * (1.0 - (x / 0.95) ** 2) if abs(x) < 0.95 else 0.0
    brow = abs(y + 0.80 - 0.18 * (x - 0.1) ** 2)
    if brow < 0.07 and abs(x) < 0.85:
        return (0.20, 0.10, 0.06)
    if abs(y) > lid:
        return (0.12, 0.05, 0.05) if lid > 0 and abs(y) < lid + 0.07 else skin
    radius = math.hypot(x, y)
    if math.hypot(x + 0.14, y + 0.16) < 0.09:
        return (1.0, 1.0, 1.0)
    if radius < 0.20:
        return (0.02, 0.02, 0.03)
    if radius < 0.47:
        rays = 0.5 + 0.5 * math.sin(24 * math.atan2(y, x))
        iris = mix((0.05, 0.30, 0.75), (0.35, 0.75, 0.95), 0.35 + 0.5 * rays * (radius - 0.20) / 0.27)
        return mix(iris, (0.03, 0.10, 0.30), (radius - 0.41) / 0.06)
    return mix((0.98, 0.96, 0.94), (0.80, 0.68, 0.66), (abs(x) - 0.45) / 0.5)


def sunflower(x, y):
    """A sunflower before a blue sky: petals in two whorls, seeds in Vogel's spiral."""
    background = mix((0.15, 0.45, 0.90), (0.55, 0.78, 0.98), (y + 1) / 2)
    if abs(x + 0.06 * math.sin(2.5 * y)) < 0.06 and y > 0.3:
        background = (0.15, 0.50, 0.12)
    radius, angle = math.hypot(x, y + 0.08), math.atan2(y + 0.08, x)
    if radius < 0.36:
        n = round((radius / 0.36) ** 2 * 160)
        for k in range(max(n - 14, 0), min(n + 15, 161)):
            r, a = 0.36 * math.sqrt(k / 160), k * math.pi * (3 - math.sqrt(5))
            if math.hypot(x - r * math.cos(a), y + 0.08 - r * math.sin(a)) < 0.016:
                return (0.62, 0.36, 0.10)
        return (0.25, 0.12, 0.04)
    for turn, length, colour in [(0.0, 0.86, (1.00, 0.82, 0.05)), (0.5, 0.80, (0.95, 0.62, 0.02))]:
        petals = 16
        place = (angle / (2 * math.pi) * petals + turn) % 1.0 - 0.5
        along = (radius - 0.30) / (length - 0.30)
        if 0 <= along <= 1 and abs(place) < 0.48 * math.sqrt(max(1 - along**1.6, 0)):
            return mix(colour, (0.80, 0.40, 0.0), 0.7 * (1 - along) ** 2 + 0.25 * abs(place))
    return background


def lighthouse(x, y):
    """A red and white lighthouse at night, its beam to the right, above a dark sea."""
    sky = mix((0.05, 0.04, 0.22), (0.95, 0.45, 0.25), (y + 0.75) / 1.3)
    if y > 0.55:
        waves = 0.5 + 0.5 * math.sin(26 * y + 3.0 * math.sin(5 * x))
        ground = mix((0.02, 0.10, 0.30), (0.10, 0.35, 0.55), waves)
    else:
        ground = sky
        moon = math.hypot(x - 0.62, y + 0.62)
        if moon < 0.17 and math.hypot(x - 0.70, y + 0.68) > 0.15:
            return (1.0, 0.97, 0.82)
        if x > -0.3 and abs(y + 0.50 - 0.10 * (x + 0.3)) < 0.03 + 0.16 * (x + 0.3):
            ground = mix(ground, (1.0, 0.95, 0.60), 0.75 - 0.35 * (x + 0.3))
    if math.hypot((x + 0.38) / 1.5, y - 0.86) < 0.32:
        ground = mix((0.22, 0.20, 0.20), (0.36, 0.32, 0.30), 0.5 + 0.5 * math.sin(31 * x + 17 * y))
    u = x + 0.38
    if -0.40 <= y <= 0.62 and abs(u) < 0.13 + 0.10 * (y + 0.40):
        red = int((y + 0.40) / 0.17) % 2 == 0
        colour = (0.88, 0.10, 0.10) if red else (0.97, 0.97, 0.95)
        return mix(colour, (0.15, 0.10, 0.15), 0.55 * (u / 0.23 + 0.4))
    if -0.45 <= y < -0.40 and abs(u) < 0.19:
        return (0.10, 0.10, 0.12)
    if -0.62 <= y < -0.45 and abs(u) < 0.11:
        return (1.0, 0.95, 0.45)
    if -0.82 <= y < -0.62 and abs(u) < 0.16 * (y + 0.82) / 0.20:
        return (0.70, 0.05, 0.08)
    return ground


def png(rows):
    """An 8-bit RGB PNG file of rows of bytes."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def draw(picture):
    rows = []
    for j in range(SIDE):
        row = bytearray()
        for i in range(SIDE):
            total = [0.0] * 3
            for b in range(SAMPLES):
                for a in range(SAMPLES):
                    x = 2 * (i + (a + 0.5) / SAMPLES) / SIDE - 1
                    y = 2 * (j + (b + 0.5) / SAMPLES) / SIDE - 1
                    total = [t + c for t, c in zip(total, picture(x, y))]
            row += bytes(round(255 * min(max(t / SAMPLES**2, 0.0), 1.0)) for t in total)
        rows.append(bytes(row))
    return png(rows)


def main():
    folder = Path(__file__).resolve().parent.parent / "circuits" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for picture in (eye, sunflower, lighthouse):
        (folder / f"{picture.__name__}.png").write_bytes(draw(picture))
    return 0


if __name__ == "__main__":
    sys.exit(main())
