"""One member as the chat row that ms-swift and LLaMA-Factory read, with a placeholder for every medium."""

import re
from typing import Any

from gdo.export.rows import Medium, Row

_TAG = re.compile(r"<(image|video|audio)>")


def is_video(medium: Medium, frames_as_images: bool) -> bool:
    """Whether a medium is one entry of `videos`; if not, its paths are entries of `images`."""
    return medium.kind == "video" or (medium.kind == "frames" and not frames_as_images)


def placeholders(row: Row, frames_as_images: bool) -> tuple[list[str], list[str], list[Any]]:
    """The placeholders, images and videos of a member; one placeholder for each entry of the two lists.

    A frame list is one video given as the list of its frames, or else as many images.
    """
    tags: list[str] = []
    images: list[str] = []
    videos: list[Any] = []
    for medium in row.media:
        if is_video(medium, frames_as_images):
            tags.append("<video>")
            videos.append(medium.paths if medium.kind == "frames" else medium.paths[0])
        else:
            tags += ["<image>"] * len(medium.paths)
            images += medium.paths
    return tags, images, videos


def untagged(text: str) -> str:
    """A text in which no trainer sees a placeholder: `<image>` becomes `< image>`."""
    return _TAG.sub(r"< \1>", text) if "<" in text else text


def names_of(row: Row, with_bucket: bool) -> dict[str, str]:
    """The keys of a row that are for people; `bucket` tells pictures of text from other samples."""
    named = {"id": row.qa_uid, "data_source": row.data_source}
    return {**named, "bucket": row.bucket} if with_bucket else named


def chat_row(row: Row, frames_as_images: bool, with_bucket: bool) -> dict[str, Any]:
    """The row with `messages`, `images` and `videos`, after its names."""
    tags, images, videos = placeholders(row, frames_as_images)
    return {
        **names_of(row, with_bucket),
        "messages": [
            {"role": "user", "content": "".join(tags) + untagged(row.question)},
            {"role": "assistant", "content": untagged(row.answer)},
        ],
        "images": images,
        "videos": videos,
    }
