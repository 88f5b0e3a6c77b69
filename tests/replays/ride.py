"""A made-up ride with turns and stops, as a track and as the pictures a camera would take: lamps beside a dark road."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gnss.geodesy import LocalFrame
from gnss.types import Fix
from perception.types import Image

STEP_S = 0.1
SIZE, FX = (320, 240), 260.0
UTC_NS = 1_780_000_000_000_000_000
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ride:
    """East, north (m), heading (rad, left of east) and speed at every STEP_S."""

    east: Array
    north: Array
    heading: Array
    speed: Array

    @staticmethod
    def make(seconds: float, seed: int, *, turns: bool = True, stops: bool = True) -> Ride:
        """Turns of 20 to 90 degrees and stops of some seconds at random times."""
        rng = np.random.default_rng(seed)
        count = round(seconds / STEP_S)
        rate, speed = np.zeros(count), np.full(count, 9.0)
        at = 30
        while at < count - 60:
            length = int(rng.integers(20, 50))
            if turns and rng.random() < 0.6:
                rate[at : at + length] = rng.choice([-1, 1]) * rng.uniform(0.15, 0.45)
                speed[at : at + length] = 6.0
            elif stops:
                speed[at : at + length] = 0.0
            at += length + int(rng.integers(30, 80))
        kernel = np.ones(15) / 15
        rate, speed = np.convolve(rate, kernel, "same"), np.convolve(speed, kernel, "same")
        heading = np.cumsum(rate * STEP_S)
        east, north = (np.cumsum(speed * f(heading) * STEP_S) for f in (np.cos, np.sin))
        return Ride(east, north, heading, speed)

    def fixes(self, seed: int = 0, noise_m: float = 1.0) -> list[Fix]:
        """One fix per second, noisy, with speed and course, the first at stamp 0."""
        rng, ground = np.random.default_rng(seed), LocalFrame(31.0, 121.0)
        fixes = []
        for nth, row in enumerate(range(0, len(self.east), 10)):
            e, n = self.east[row] + rng.normal(0, noise_m), self.north[row] + rng.normal(0, noise_m)
            lat, lon = ground.to_geo(float(e), float(n))
            course = float(90 - np.degrees(self.heading[row]) + rng.normal(0, 2)) % 360
            speed = max(float(self.speed[row] + rng.normal(0, 0.2)), 0.0)
            fixes.append(Fix(nth * 10**9, UTC_NS + nth * 10**9, lat, lon, 4.0, noise_m, speed, course))
        return fixes

    def frames(self, first_s: float, seconds: float, seed: int = 0) -> Iterator[tuple[float, Image]]:
        """What the camera saw from `first_s` on: (s since then, picture)."""
        rng = np.random.default_rng(seed)
        near = rng.integers(0, len(self.east), 1800)
        aside = rng.choice([-1, 1], 1800) * rng.uniform(4, 25, 1800)
        lamps = np.stack(
            [self.east[near] + rng.normal(0, 15, 1800), self.north[near] + aside, rng.uniform(-1.4, 8, 1800)], 1
        )
        far = rng.uniform(0, 2 * np.pi, 150)
        lamps = np.concatenate([lamps, np.stack([4e4 * np.cos(far), 4e4 * np.sin(far), rng.uniform(0, 1e4, 150)], 1)])
        bright = rng.integers(90, 255, len(lamps))
        first = round(first_s / STEP_S)
        for nth in range(round(seconds / STEP_S)):
            yield nth * STEP_S, self._picture(first + nth, lamps, bright, rng)

    def _picture(self, row: int, lamps: Array, bright: NDArray[np.int64], rng: np.random.Generator) -> Image:
        away = lamps - (self.east[row], self.north[row], 0.0)
        c, s = np.cos(self.heading[row]), np.sin(self.heading[row])
        ahead, left = c * away[:, 0] + s * away[:, 1], -s * away[:, 0] + c * away[:, 1]
        image = np.asarray(rng.integers(20, 32, (SIZE[1], SIZE[0], 3)), np.uint8)
        seen = np.flatnonzero(ahead > 1.5)
        x, y = SIZE[0] / 2 - FX * left[seen] / ahead[seen], SIZE[1] / 2 - FX * away[seen, 2] / ahead[seen]
        inside = (np.abs(x - SIZE[0] / 2) < SIZE[0] / 2) & (np.abs(y - SIZE[1] / 2) < SIZE[1] / 2)
        order = np.argsort(-ahead[seen][inside])
        for n in np.flatnonzero(inside)[order]:
            size = int(np.clip(FX * 0.25 / ahead[seen[n]], 1, 12))
            grey = int(bright[seen[n]])
            cv2.circle(image, (round(float(x[n])), round(float(y[n]))), size, (grey, grey, grey), cv2.FILLED)
        return image


def write_video(file: Path, frames: Iterator[tuple[float, Image]]) -> Path:
    """The pictures as a video of 10 frames/s."""
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), 1 / STEP_S, SIZE)
    for _, image in frames:
        writer.write(image)
    writer.release()
    return file
