"""Reading ahead: the next batch is decoded while the last one is used.

The compiled passes let go of the interpreter, so that a thread is enough for it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final

from mmsforensics.packets.table import PacketBatch

PATIENCE: Final = 0.1
"""Seconds between two looks whether anybody still waits for a batch."""


@dataclass(frozen=True, slots=True)
class _End:
    """Behind the last batch: why there are no more."""

    error: BaseException | None


def read_ahead(batches: Iterator[PacketBatch]) -> Generator[PacketBatch]:
    """Yield the same batches, each made on a thread while the one before it is used.

    An exception is raised where it would have been. A batch's data stay readable as long as its file is open.
    """
    waiting: queue.Queue[PacketBatch | _End] = queue.Queue(maxsize=1)
    left = threading.Event()

    def offer(item: PacketBatch | _End) -> bool:
        while not left.is_set():
            try:
                waiting.put(item, timeout=PATIENCE)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        error: BaseException | None = None
        try:
            for batch in batches:
                if not offer(batch):
                    break
        except BaseException as raised:  # handed to the one who waits
            error = raised
        finally:
            if isinstance(batches, Generator):
                batches.close()
        offer(_End(error))

    thread = threading.Thread(target=produce, name="read-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        left.set()
        thread.join()
