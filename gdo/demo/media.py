"""The media files: clips and stills drawn, changed where a near-duplicate is wanted, and encoded.

A file is named by a digest of everything it is made from, so a file that is there is right, whoever made it,
and its name says nothing about what it shows.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Literal

import av
import cv2
import numpy as np

from gdo.demo.looks import Picture, area, backdrop, draw_shape, to_picture
from gdo.demo.scenes import Actor, Scene
from gdo.demo.still_art import draw_still
from gdo.demo.stills import Still
from gdo.pool.atomic import write_locked

RECIPE = 2
"""Raised with every change that gives a pool other bytes."""

How = Literal["", "re-encoded", "rescaled", "trimmed", "cropped"]

_FLOW_FRAMES = 8
_FLOW_SIDE = 224


@dataclass(frozen=True, slots=True)
class Variant:
    """How a file is made from its scene or still.

    Attributes:
        how: What sets it apart from the original, empty for the original itself.
        scale: Factor on width and height.
        crop: Share of the width and height cut off on each side.
        skip: Share of the frames left out at the start.
        drop: Share of the frames left out at the end.
        crf: H.264 quality (higher is worse).
        jpeg: JPEG quality (higher is better).
    """

    how: How = ""
    scale: float = 1.0
    crop: float = 0.0
    skip: float = 0.0
    drop: float = 0.0
    crf: int = 20
    jpeg: int = 92


@dataclass(frozen=True)
class Medium:
    """One media file to be: what it shows and how it is made."""

    content: Scene | Still
    variant: Variant = Variant()

    @cached_property
    def stem(self) -> str:
        """Its file's name without the ending."""
        return blake2b(repr((RECIPE, self.content, self.variant)).encode(), digest_size=8).hexdigest()

    @property
    def path(self) -> str:
        """Where it stands under the pool's folder."""
        return f"videos/{self.stem}.mp4" if isinstance(self.content, Scene) else f"images/{self.stem}.jpg"


@dataclass(frozen=True, slots=True)
class Motion:
    """How much moves in a clip.

    Attributes:
        speed: Mean over the moving shapes and over neighbouring frames, in stored pixels per frame.
        speed_per_second: The same in widths of the stored picture per second.
        flow: Mean over the picture's area and over neighbours among 8 evenly spaced frames: each shape's
            displacement in pixels of the picture stretched to 224 x 224, weighted by its share of the area.
    """

    speed: float
    speed_per_second: float
    flow: float


def make_variant(rng: Random, content: Scene | Still) -> Variant:
    """Draw a way to make a near-duplicate of a clip or still; each is worse in quality than the original."""
    crf, jpeg = rng.randint(24, 32), rng.randint(45, 75)
    how: How = rng.choice(("re-encoded", "rescaled", "cropped"))
    if isinstance(content, Scene) and rng.random() < 0.4:
        skip, drop = rng.choice(((0.1, 0.0), (0.0, 0.1), (0.05, 0.05), (0.1, 0.1)))
        return Variant("trimmed", skip=skip, drop=drop, crf=crf, jpeg=jpeg)
    if how == "rescaled":
        return Variant(how, scale=rng.choice((0.5, 0.6, 0.75, 1.25, 1.5)), crf=crf, jpeg=jpeg)
    if how == "cropped":
        return Variant(how, crop=rng.choice((0.02, 0.03, 0.04)), crf=crf, jpeg=jpeg)
    return Variant(how, crf=crf, jpeg=jpeg)


def write_medium(folder: Path, medium: Medium) -> None:
    """Draw and encode a medium to its path under `folder`, unless it is there already."""
    target = folder / medium.path
    if target.exists():
        return
    content, variant = medium.content, medium.variant
    if isinstance(content, Scene):
        data = _mp4(content, variant)
    else:
        picture = _reshape(draw_still(content), variant)
        _, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, variant.jpeg])
        data = encoded.tobytes()
    write_locked(target, partial(Path.write_bytes, data=data))


def draw_clip(scene: Scene, variant: Variant) -> Iterator[Picture]:
    """The frames of a clip in order: uint8 RGB [height, width, 3], width and height even."""
    ground = backdrop(scene.height, scene.width, scene.tone, scene.seed)
    for time in _times(scene, variant):
        picture = ground.copy()
        for actor in scene.actors:
            spot = actor.at(time)
            if spot:
                draw_shape(picture, actor.shape, _colour(actor, time), spot, actor.radius)
        yield _reshape(picture, variant)


def true_motion(scene: Scene, variant: Variant) -> Motion:
    """Measure a clip's motion from its plan, not from its pixels."""
    times = _times(scene, variant)
    paths = [[actor.at(time) for time in times] for actor in scene.actors]
    speeds = [sum(_steps(path, 1.0, 1.0)) / (len(times) - 1) for path in paths]
    moving = [speed for speed in speeds if speed > 0]
    speed = sum(moving) / len(moving) if moving else 0.0
    width, height = (side * (1 - 2 * variant.crop) for side in (scene.width, scene.height))
    return Motion(speed * variant.scale, speed * scene.fps / width, _flow(scene.actors, paths, width, height))


def _flow(
    actors: tuple[Actor, ...], paths: list[list[tuple[float, float] | None]], width: float, height: float
) -> float:
    """`Motion.flow` of shapes with the given places in each frame."""
    last = len(paths[0]) - 1
    picks = [round(i * last / (_FLOW_FRAMES - 1)) for i in range(_FLOW_FRAMES)]
    total = 0.0
    for actor, path in zip(actors, paths, strict=True):
        steps = _steps([path[i] for i in picks], _FLOW_SIDE / width, _FLOW_SIDE / height)
        total += sum(steps) * area(actor.shape, actor.radius) / (width * height)
    return total / (_FLOW_FRAMES - 1)


def _steps(path: list[tuple[float, float] | None], across: float, down: float) -> list[float]:
    """Distances between neighbouring places, 0 where either is missing; x and y are scaled first."""
    pairs = pairwise(path)
    return [
        float(np.hypot((b[0] - a[0]) * across, (b[1] - a[1]) * down)) if a and b else 0.0 for a, b in pairs
    ]


def _times(scene: Scene, variant: Variant) -> list[float]:
    """The times of the frames that are kept."""
    first = round(variant.skip * scene.frames)
    stop = scene.frames - round(variant.drop * scene.frames)
    return [frame / (scene.frames - 1) for frame in range(first, stop)]


def _colour(actor: Actor, time: float) -> str:
    return actor.turns[1] if actor.turns and time >= actor.turns[0] else actor.colour


def _reshape(picture: Picture, variant: Variant) -> Picture:
    """Crop and rescale to even sides."""
    if variant.scale == 1.0 and variant.crop == 0.0:
        return picture
    height, width = picture.shape[:2]
    top, left = round(variant.crop * height), round(variant.crop * width)
    kept = picture[top : height - top, left : width - left]
    size = [2 * round(side * variant.scale / 2) for side in (kept.shape[1], kept.shape[0])]
    return to_picture(cv2.resize(kept, size, interpolation=cv2.INTER_LINEAR_EXACT))


def _mp4(scene: Scene, variant: Variant) -> bytes:
    """An H.264 file (yuv420p, one thread, so that the same bytes come out everywhere)."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = None
        for picture in draw_clip(scene, variant):
            if stream is None:
                options = {"crf": str(variant.crf), "preset": "veryfast", "threads": "1"}
                stream = container.add_stream("libx264", rate=Fraction(scene.fps), options=options)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
            planes = to_picture(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        if stream is not None:
            container.mux(stream.encode(None))
    return buffer.getvalue()
