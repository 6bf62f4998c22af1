"""Some items ahead: the next batches are read and decoded while this one is worked on.

Kernels and file reads leave the interpreter to other threads, so on two cores reading costs next to nothing. Items are
made in buffers that are used in turn (`Turns`), so one stays as it is while MOST more are made.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

MOST = 2
"""Items made ahead at most. With two, neither thread waits for the other because one batch took longer."""

# A maker that waits for a pipe cannot be woken; it is a daemon, and whoever stopped asking must not wait with it.
_PATIENCE_S = 0.2


class Turns(Generic[T]):
    """Buffers that are used in turn: one that items were made in comes back when MOST more were used.

    make  returns a buffer
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._waiting = [make() for _ in range(MOST)]

    def next(self, used: T) -> T:
        """Return the buffer to be used after `used`."""
        self._waiting.append(used)
        return self._waiting.pop(0)


def _never(item: object) -> bool:
    return False


class _Hand(Generic[T]):
    """What the two threads share."""

    def __init__(self, most: int, alone: Callable[[T], bool]) -> None:
        self.alone = alone
        self.items: deque[T] = deque()
        self.failure: list[BaseException] = []
        self.ready, self.wanted, self.used_up = (threading.Semaphore(n) for n in (0, most - 1, 0))
        self.stopped = False


class Ahead(Generic[T]):
    """Yields `items` in order, made by another thread while those before them are used; errors come last.

    The first is begun at once, before it is asked for.

    alone  true for an item that has to be used up before the next is begun    most  items made ahead, up to MOST
    """

    def __init__(self, items: Iterable[T], alone: Callable[[T], bool] = _never, most: int = MOST) -> None:
        self._hand: _Hand[T] = _Hand(most, alone)
        self._maker = threading.Thread(target=_make, args=(items, self._hand), daemon=True)
        self._maker.start()

    def __iter__(self) -> Iterator[T]:
        hand = self._hand
        try:
            while True:
                hand.ready.acquire()
                if not hand.items:
                    break
                item = hand.items.popleft()
                hand.wanted.release()
                yield item
                if hand.alone(item):
                    hand.used_up.release()
            if hand.failure:
                raise hand.failure[0]
        finally:
            self._stop()
            self._maker.join(_PATIENCE_S)
            hand.ready.release()  # who asks once more gets nothing, and does not wait

    def _stop(self) -> None:
        self._hand.stopped = True
        self._hand.wanted.release()
        self._hand.used_up.release()

    __del__ = _stop  # the other thread knows only what both share: nobody may ever have asked


def _make(items: Iterable[T], hand: _Hand[T]) -> None:
    try:
        for item in items:
            alone = hand.alone(item)
            hand.items.append(item)
            del item
            hand.ready.release()
            hand.wanted.acquire()
            if alone:
                hand.used_up.acquire()
            if hand.stopped:
                return
    except BaseException as error:
        hand.failure.append(error)
    finally:
        hand.ready.release()
