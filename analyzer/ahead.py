"""One item ahead: the next batch is read and decoded while this one is worked on.

Kernels and file reads leave the interpreter to other threads, so on two cores reading costs next to nothing. An item
stays valid until the one after the next is begun: whoever makes the items needs two of each buffer, no more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

# A maker that waits for a pipe cannot be woken; it is a daemon, and whoever stopped asking must not wait with it.
_PATIENCE_S = 0.2


def _never(item: object) -> bool:
    return False


class _Hand(Generic[T]):
    """What the two threads share."""

    def __init__(self) -> None:
        self.item: list[T] = []
        self.failure: list[BaseException] = []
        self.ready, self.wanted = threading.Semaphore(0), threading.Semaphore(0)
        self.stopped = False


class Ahead(Generic[T]):
    """Yields `items` in order, each made by another thread while the one before it is used; errors come last.

    The first is begun at once, before it is asked for.

    alone  true for an item that has to be used up before the next is begun
    """

    def __init__(self, items: Iterable[T], alone: Callable[[T], bool] = _never) -> None:
        self._hand: _Hand[T] = _Hand()
        self._alone = alone
        self._maker = threading.Thread(target=_make, args=(items, self._hand), daemon=True)
        self._maker.start()

    def __iter__(self) -> Iterator[T]:
        hand = self._hand
        try:
            while True:
                hand.ready.acquire()
                if not hand.item:
                    break
                item = hand.item.pop()
                waits = self._alone(item)
                if not waits:
                    hand.wanted.release()
                yield item
                if waits:
                    hand.wanted.release()
            if hand.failure:
                raise hand.failure[0]
        finally:
            self._stop()
            self._maker.join(_PATIENCE_S)
            hand.ready.release()  # who asks once more gets nothing, and does not wait

    def _stop(self) -> None:
        self._hand.stopped = True
        self._hand.wanted.release()

    __del__ = _stop  # the other thread knows only what both share: nobody may ever have asked


def _make(items: Iterable[T], hand: _Hand[T]) -> None:
    try:
        for item in items:
            hand.item.append(item)
            del item
            hand.ready.release()
            hand.wanted.acquire()
            if hand.stopped:
                return
    except BaseException as error:
        hand.failure.append(error)
    finally:
        hand.ready.release()
