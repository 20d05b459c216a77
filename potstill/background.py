"""Work that follows behind in a thread of its own, in order and not too far behind."""

from collections.abc import Callable
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")


class Background(Generic[Item]):
    """Calls `work` on every item that is put, one after the other, while the caller goes on.

    A caller that is `ahead` items ahead waits. What `work` raises is raised by the next `put` or at the end of the
    `with` block; the items put before the block was left, by an error or not, are still worked on.
    """

    def __init__(self, work: Callable[[Item], None], ahead: int = 64):
        self._work = work
        self._items: Queue[Item | None] = Queue(ahead)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)

    def put(self, item: Item) -> None:
        """Hand over an item."""
        if self._error is not None:
            raise self._error
        self._items.put(item)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._items.put(None)
        self._thread.join()
        if self._error is not None and error is not self._error:
            raise self._error

    def _run(self) -> None:
        while (item := self._items.get()) is not None:
            if self._error is None:
                try:
                    self._work(item)
                except BaseException as error:
                    # Items are still taken, so that nobody waits for room, but no longer worked on.
                    self._error = error
