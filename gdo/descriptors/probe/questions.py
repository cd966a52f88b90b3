"""The question by which a model is asked whether another question needs time (TNC, arXiv 2603.12478)."""

TEMPORAL = "Temporal"
STATIC = "Static"

_ASK = """\
Question about a video: "{question}"
Can it be answered from a single frame, or does it need temporal reasoning over several frames \
(order, direction, change, counting over time)?
Answer with one word: {temporal} if it needs several frames, {static} if one frame is enough."""


def ask_temporal(question: str) -> str:
    """The user's turn that asks for one of the two words about a question; no media are shown with it."""
    return _ASK.format(question=question, temporal=TEMPORAL, static=STATIC)
