"""Record waits on torch's futures: `work.get_future().wait()`, and waits on derived futures.

torch makes these futures in C++ and does not accept a subclass. So the methods of their type are
replaced. For a future without a message the new methods do the same as the old ones.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable

from lablib.frameworks.torch import compat
from lablib.frameworks.torch.compat import Future
from lablib.frameworks.torch.uncompiled import uncompiled
from lablib.record.recorder import Recorder

_messages = weakref.WeakKeyDictionary()  # {future: numbers of the messages after which it ends}
_add_done_callback = Future.add_done_callback
_thread = threading.local()  # its `calls_back` is True while it runs a future's callback


def see_waits(recorder: Recorder) -> None:
    """Record the waits of this process on every future that `follow` knows."""
    compat.replace("torch._C:Future.wait", lambda wait: _wait(wait, recorder))
    compat.replace("torch._C:Future.then", _then)
    compat.replace("torch._C:Future.add_done_callback", _calls_back)
    compat.replace("torch._C:_collect_all", _collect_all)


def follow(future: Future, number: int, ended: Callable) -> Future:
    """Mark the future as that of message `number` and return it; call `ended` when it has ended."""
    _add_done_callback(future, ended)
    _messages[future] = (number,)
    return future


def _wait(wait, recorder):
    @uncompiled
    @functools.wraps(wait)
    def call(self):
        # In a callback the message has ended, and the thread that runs it is random.
        numbers = () if getattr(_thread, "calls_back", False) else _messages.get(self, ())
        over = self.done()
        starts_s = [recorder.waits(number, over) for number in numbers]
        answer = wait(self)
        for number in numbers:  # they end together, so the first one gets the time
            recorder.waited(number, starts_s[0])
            starts_s[0] = recorder.clock()
        return answer

    return call


def _then(then):
    makes = _calls_back(then)

    @uncompiled
    @functools.wraps(then)
    def call(self, callback):
        future = makes(self, callback)
        _messages[future] = _messages.get(self, ())
        return future

    return call


def _calls_back(method):
    """Return the method with a callback in which waits are not counted.

    If the message has already ended, the callback runs at once in this thread, otherwise in the
    backend's thread. The counts must not depend on this.
    """

    @uncompiled
    @functools.wraps(method)
    def call(self, callback):
        @uncompiled
        @functools.wraps(callback)
        def uncounted(future):
            before = getattr(_thread, "calls_back", False)
            _thread.calls_back = True
            try:
                with compat.disable_current_modes():
                    return callback(future)
            finally:
                _thread.calls_back = before

        return method(self, uncounted)

    return call


def _collect_all(collect):
    @uncompiled
    @functools.wraps(collect)
    def call(futures):
        future = collect(futures)
        _messages[future] = tuple(n for each in futures for n in _messages.get(each, ()))
        return future

    return call
