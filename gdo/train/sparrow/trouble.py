"""Why a text does not become pictures: a reason to count by, a detail to look at."""


class LeftOutError(Exception):
    """A text that a rule leaves out.

    Attributes:
        reason: To count by.
        detail: What exactly.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class NotShownError(LeftOutError):
    """A text that could only be drawn with boxes, or over the edge."""
