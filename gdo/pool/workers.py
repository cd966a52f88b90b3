"""Who parses a file: threads where its rows are regular, else processes."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Self

from gdo.errors import GdoError
from gdo.pool.child import end_with_parent
from gdo.pool.readers import Block
from gdo.pool.regular import RegularReader
from gdo.pool.samples import BlockResult, Settings, parse_block, without_garbage_collection
from gdo.pool.threads import MAX_THREADS, in_threads


class Workers:
    """Threads and processes that parse blocks; started when first needed, they serve all files."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._executor: ProcessPoolExecutor | None = None
        self._reader: RegularReader | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._reader:
            self._reader.close()
        if self._executor:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def parse(
        self, blocks: Iterator[Block], settings: Settings, target: Path, *, small: bool
    ) -> Iterator[BlockResult]:
        """Parse all blocks of a file; the results come in the order of the blocks.

        Regular rows are parsed by threads, all at once; files of other rows by processes, row by row.
        """
        first = next(blocks, None)
        if first is None:
            return
        blocks = chain([first], blocks)
        if self._reader is None:
            self._reader = RegularReader()
        if self._reader.suits(first, settings.shape):
            yield from self.together(blocks, settings, target)
        else:
            yield from (self.here if small else self.spread)(blocks, settings, target)

    def together(self, blocks: Iterator[Block], settings: Settings, target: Path) -> Iterator[BlockResult]:
        """Parse in threads of this process; at most two blocks are in flight for each."""
        assert self._reader is not None
        parse = self._reader.parse_block
        threads = min(self.count, MAX_THREADS)

        def parse_numbered(numbered: tuple[int, Block]) -> BlockResult:
            number, block = numbered
            return parse(block, settings, target.with_name(f"{target.name}-{number:06d}"))

        with without_garbage_collection():
            yield from in_threads(parse_numbered, enumerate(blocks), threads)

    def here(self, blocks: Iterator[Block], settings: Settings, target: Path) -> Iterator[BlockResult]:
        """Parse in this process."""
        for number, block in enumerate(blocks):
            yield parse_block(block, settings, target.with_name(f"{target.name}-{number:06d}"))

    def spread(self, blocks: Iterator[Block], settings: Settings, target: Path) -> Iterator[BlockResult]:
        """Parse over all processes, of which this is one; the results come in the order of the blocks.

        At most two blocks are in flight for each other process, which bounds memory and keeps them busy
        while this one parses.
        """
        if self.count == 1:
            yield from self.here(blocks, settings, target)
            return
        others = self.count - 1
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                others, mp_context=get_context("spawn"), initializer=end_with_parent
            )
        waiting: deque[Future[BlockResult]] = deque()
        try:
            for number, block in enumerate(blocks):
                name = target.with_name(f"{target.name}-{number:06d}")
                if sum(not future.done() for future in waiting) < 2 * others:
                    waiting.append(self._executor.submit(parse_block, block, settings, name))
                else:
                    waiting.append(_done(parse_block(block, settings, name)))
                while waiting and waiting[0].done():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise GdoError(
                "a process that parses rows ended: for want of memory (--workers 1 needs least), or "
                "because a script calls ingest without `if __name__ == '__main__':`"
            ) from error


def _done(result: BlockResult) -> Future[BlockResult]:
    future: Future[BlockResult] = Future()
    future.set_result(result)
    return future
