"""One item ahead: the next batch is read and decoded while this one is worked on.

Kernels and file reads leave the interpreter to other threads, so on two cores reading costs next to nothing. An item
stays valid until the one after the next is begun: whoever makes the items needs two of each buffer, no more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

# A maker that waits for a pipe cannot be woken; it is a daemon, and whoever stopped asking must not wait with it.
_PATIENCE_S = 0.2


def _never(item: object) -> bool:
    return False


def ahead(items: Iterable[T], alone: Callable[[T], bool] = _never) -> Iterator[T]:
    """Yield `items` in order, each made by another thread while the one before it is used; errors come last.

    alone  true for an item that has to be used up before the next is begun
    """
    slot: list[T] = []
    failure: list[BaseException] = []
    ready, wanted = threading.Semaphore(0), threading.Semaphore(0)
    stopped = False

    def make() -> None:
        try:
            for item in items:
                slot.append(item)
                ready.release()
                wanted.acquire()
                if stopped:
                    return
        except BaseException as error:
            failure.append(error)
        finally:
            ready.release()

    maker = threading.Thread(target=make, daemon=True)
    maker.start()
    try:
        while True:
            ready.acquire()
            if not slot:
                break
            item = slot.pop()
            waits = alone(item)
            if not waits:
                wanted.release()
            yield item
            if waits:
                wanted.release()
        if failure:
            raise failure[0]
    finally:
        stopped = True
        wanted.release()
        maker.join(_PATIENCE_S)
