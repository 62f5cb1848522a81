"""A pool of threads that is at rest when it is left, also after an interrupt."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Pool(ThreadPoolExecutor):
    """An executor that drops what waits when it is left by an exception, and is left when nothing of it is at work.

    The executor it is made of does not keep that: a KeyboardInterrupt that comes while it starts a thread, where its main
    thread mostly waits, leaves that thread out of those it joins (`_adjust_thread_count` adds it after the start).
    """

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._change = threading.Condition()
        self._at_work = 0
        self._is_over = False

    def submit(self, work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have work done, as `Executor.submit`."""
        return super().submit(self._do, work, *args, **kwargs)

    def __exit__(self, *_: object) -> None:
        """Wait for what is at work, whatever interrupts come meanwhile; what has not begun by then is not done.

        Who wants a result asks for it before.
        """
        try:
            self._is_over = True
            self.shutdown(cancel_futures=True)
            with self._change:
                self._change.wait_for(lambda: not self._at_work)
        except KeyboardInterrupt:
            self.__exit__()
            raise

    def _do(self, work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with self._change:
            if self._is_over:
                raise CancelledError
            self._at_work += 1
        try:
            return work(*args, **kwargs)
        finally:
            with self._change:
                self._at_work -= 1
                self._change.notify_all()
