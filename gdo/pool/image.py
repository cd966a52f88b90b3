"""Reads picture files with Pillow: upright RGB whatever they hold, or an error that says why not."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gdo.errors import MediaError
from gdo.pool.frames import Picture

ORIENTATION_TAG = 0x0112


def read_image(path: Path) -> Picture:
    """Read a picture file, of a moving picture the first frame, as uint8 [height, width, 3].

    EXIF orientation is applied; what is transparent shows white; 16-bit grey keeps its upper 8 bits and
    floating-point grey is stretched from its least to its greatest value.

    Raises:
        MediaError: The file is missing, no picture, cut off, or too large (Pillow's limit against bombs).
    """
    with _opened(path) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
        return np.array(_to_rgb(upright), dtype=np.uint8)


def image_size(path: Path) -> tuple[int, int]:
    """Return the upright (width, height) of a picture file from its header.

    Raises:
        MediaError: The file is missing, no picture, or too large.
    """
    with _opened(path) as image:
        turned = image.getexif().get(ORIENTATION_TAG) in (5, 6, 7, 8)
        return (image.height, image.width) if turned else (image.width, image.height)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture and tell what goes wrong with it in words."""
    if not path.is_file():
        raise MediaError("is not a file" if path.exists() else "no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                yield image
    except UnidentifiedImageError as error:
        raise MediaError("not a picture of a known format") from error
    except Image.DecompressionBombError as error:
        raise MediaError(f"too large to be decoded ({error})") from error
    except Exception as error:  # Pillow's readers let any error of a broken file through
        raise MediaError(f"broken picture ({error or type(error).__name__})") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB."""
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        floats = np.nan_to_num(np.asarray(image, dtype=np.float64))
        spread = np.ptp(floats) or 1.0
        return Image.fromarray(((floats - floats.min()) / spread * 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
