"""Waits on torch's futures, seen: `work.get_future().wait()`, and of whatever follows from it.

torch makes these futures in C++, of a type that takes no subclass's place. So the methods of that
type are replaced: for a future that no message stands behind they do what they did.
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

_messages = weakref.WeakKeyDictionary()  # of a future: the numbers of those it ends after
_add_done_callback = Future.add_done_callback
_thread = threading.local()  # its `calls_back`: whether it runs the callback of a future


def see_waits(recorder: Recorder) -> None:
    """Write down the waits of this process on every future that `follow` has seen."""
    compat.replace("torch._C:Future.wait", lambda wait: _wait(wait, recorder))
    compat.replace("torch._C:Future.then", _then)
    compat.replace("torch._C:Future.add_done_callback", _calls_back)
    compat.replace("torch._C:_collect_all", _collect_all)


def follow(future: Future, number: int, ended: Callable) -> Future:
    """The future, known as that of message `number`; `ended` is called when it has ended."""
    _add_done_callback(future, ended)
    _messages[future] = (number,)
    return future


def _wait(wait, recorder):
    @uncompiled
    @functools.wraps(wait)
    def call(self):
        # In a callback the message has ended, and which thread it runs in is chance.
        numbers = () if getattr(_thread, "calls_back", False) else _messages.get(self, ())
        over = self.done()
        starts_s = [recorder.waits(number, over) for number in numbers]
        answer = wait(self)
        for number in numbers:  # all at once: the first of them has the time
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
    """The method, whose callback is not counted: if the message has ended already it runs here at
    once, else in the backend's thread, and the counts must not depend on which."""

    @uncompiled
    @functools.wraps(method)
    def call(self, callback):
        @uncompiled
        @functools.wraps(callback)
        def uncounted(future):
            before, _thread.calls_back = getattr(_thread, "calls_back", False), True
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
