"""What a writer must know before the first row: names, and the one type of every column."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """How one export is written; the same for all its rows.

    Attributes:
        name: What to call the data set, for formats that name it.
        file: Name of the file to write, for formats that write one.
        frames_as_images: Frame lists stand among the images, else among the videos.
        video_lists: The videos are frame lists, else files. Never both, since a column has one type.
        several_images: A row may show several images.
        several_videos: A row may show several videos.
        with_bucket: Rows tell their bucket, since some are pictures of text.
    """

    name: str
    file: str
    frames_as_images: bool
    video_lists: bool
    several_images: bool
    several_videos: bool
    with_bucket: bool
