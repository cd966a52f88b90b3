"""Texts as the selection compares them: normalised, hashed, grouped by source."""

from functools import lru_cache

from xxhash import xxh3_64_intdigest


def normalise(text: str) -> str:
    """White space runs become one space, ends are trimmed (spec section 1)."""
    return " ".join(text.split())


def hash64(text: str) -> int:
    """64 bits of XXH3, the same on every machine."""
    return xxh3_64_intdigest(text.encode(errors="surrogatepass"))


def text_hash(question: str, answer: str) -> int:
    """What makes two normalised pairs exact duplicates of each other."""
    return hash64(f"{question}|||{answer}")


@lru_cache(maxsize=65536)
def source_group(data_source: str) -> str:
    """The stratum field of that name (spec section 2)."""
    head, bracket, _ = data_source.partition("(")
    parts = data_source.split("_")
    if bracket:
        group = head.strip()
    elif len(parts) >= 4:
        group = "_".join(parts[:4])
    else:
        group = data_source.strip()
    return group or "unknown"
