"""The errors that reach a person: what is wrong, where, and what to do about it."""


class GdoError(Exception):
    """The work failed; the message says why and what to do (exit code 1)."""


class UsageError(GdoError):
    """The command was asked for something it cannot do: a wrong name, value or preset (exit code 2)."""


class MediaError(GdoError):
    """An image, frame list or video cannot give the frames asked for; the message is the reason.

    Attributes:
        frames: How many frames were good before the trouble, where that is known.
    """

    def __init__(self, reason: str, frames: int | None = None) -> None:
        super().__init__(reason)
        self.frames = frames
