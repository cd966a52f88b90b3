"""Threads that work ahead of whoever takes what they make, and in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

MAX_THREADS = 8
"""Of one process: memory stays bounded on a machine of any size."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int,
    ahead: int | None = None,
    begin: Callable[[], object] | None = None,
) -> Iterator[Result]:
    """What a function gives for each item, in order.

    Args:
        function: Called in the threads.
        items: Taken as they are needed.
        threads: How many.
        ahead: Items in flight at most; default two for each thread.
        begin: Called once in each thread.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, initializer=begin) as executor:
        for item in items:
            waiting.append(executor.submit(function, item))
            if len(waiting) >= (ahead or 2 * threads):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
