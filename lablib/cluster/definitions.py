"""Send a function to the ranks, together with its definitions from the notebook.

On a rank, the notebook's functions and classes are attributes of the module `__main__`, as they are
in the notebook. So everything that pickles by name finds them there: `all_gather_object`,
`torch.save`, `multiprocessing`, a DataLoader's workers.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pickle
import sys
import types
import typing
from importlib.machinery import ModuleSpec
from typing import Any

import cloudpickle

from lablib.cluster import classes_on_rank
from lablib.cluster.classes_on_rank import is_found_by_name
from lablib.cluster.names_as_text import names_as_text
from lablib.errors import LabError
from lablib.record import learners_code

_MAIN = "__main__"
# The environment variable with their path, for processes that a rank spawns.
_PAYLOAD = "LABLIB_DEFINITIONS"
_DISPATCHER = functools.singledispatch(lambda argument: None)
_MISSING = object()
# Types of `typing` that Python pickles by their name alone, and what their constructors need.
_BY_NAME = {
    typing.NewType: ("__name__", "__supertype__"),
    typing.ParamSpec: ("__name__",),
    typing.TypeVarTuple: ("__name__",),
}
_GENERATORS = ("Generator", "RandomState", "Random")  # of random numbers, in any library
_noted: set[int] = set()  # the generators about which a note was printed
if hasattr(typing, "TypeAliasType"):  # from Python 3.12 on: what `type X = int` makes
    _BY_NAME[typing.TypeAliasType] = ("__name__", "__value__")


def packed(function: Any) -> bytes:
    """Pickle the function, then by name each definition of `__main__` that it uses.

    Raises the errors of cloudpickle for objects that cannot be pickled.
    """
    return _pickled(function).file.getvalue()


def payload(function: Any) -> bytes:
    """Return `packed` of a function that a user gave. Raises LabError if it cannot be sent."""
    if not callable(function):
        raise LabError(
            "cluster.run needs a function.",
            saw=repr(function),
            do="define `def work(me): ...` and write cluster.run(work)",
        )
    try:
        pickler = _pickled(function)
        _note_generators(pickler.generators)
        return pickler.file.getvalue()
    except Exception as error:
        code = getattr(function, "__code__", None)
        line = code and learners_code.place(f"{code.co_filename}:{code.co_firstlineno}")
        raise LabError(
            f"Function {getattr(function, '__name__', function)!r} cannot be sent to the ranks.",
            saw=f"{type(error).__name__}: {error}" + (f" ({line})" if line else ""),
            do="open files, locks and connections inside the function, not outside",
        ) from None


def unpacked(data: bytes) -> Any:
    """Return the function that `packed` wrote, and put its definitions into `__main__`.

    This runs code from the data, so only ranks may call it.
    """
    unpickler = pickle.Unpickler(io.BytesIO(data))
    function = unpickler.load()
    while more := _next(unpickler):
        _main_names().update(more)
    return function


def load(path: str) -> Any:
    """Return `unpacked` of a file. Call `become_main` first."""
    with open(path, "rb") as file:
        return unpacked(file.read())


def become_main(path: str) -> None:
    """Give this process an empty module `__main__`, instead of the zygote's.

    path    the file for `load`; processes that this one spawns load it, too
    """
    main = types.ModuleType(_MAIN)
    main.__spec__ = ModuleSpec("lablib.cluster.local.spawned_main", loader=None)
    sys.modules[_MAIN] = main
    os.environ[_PAYLOAD] = path


def of_a_parent() -> dict[str, Any]:
    """Return {name: definition} of the rank that spawned this process; {} if no rank did."""
    if _PAYLOAD not in os.environ:
        return {}
    load(os.environ[_PAYLOAD])
    return {name: value for name, value in _main_names().items() if not name.startswith("__")}


def _pickled(function):
    """Return the pickler that has written the function and its definitions into its `file`."""
    pickler = _Pickler(io.BytesIO())
    pickler.dump(function)
    sent: dict[str, Any] = {}
    while more := {n: d for n, d in pickler.definitions.items() if n not in sent}:
        pickler.dump(more)  # these may need further definitions
        sent |= more
    return pickler


def _note_generators(generators):
    """Say once for each generator of the notebook that every rank gets a copy of it."""
    new = {id(generator) for generator in generators} - _noted
    for name, value in _main_names().items():
        if id(value) in new and not name.startswith("_"):
            _noted.add(id(value))
            print(
                f"Note: every rank gets a copy of the random generator {name}, so all ranks draw "
                "the same numbers. If they must differ, make the generator in the function, for "
                "example with np.random.default_rng([seed, me.rank])."
            )


def _next(unpickler):
    try:
        return unpickler.load()
    except EOFError:
        return None


def _main_names():
    return vars(sys.modules[_MAIN])


class _MainNames(dict):
    """The names of `__main__` here; on a rank they become those of the rank's `__main__`."""

    def __reduce__(self):
        return _main_names, ()


class _Pickler(cloudpickle.Pickler):
    """cloudpickle's pickler, extended: it collects definitions and can send more objects."""

    def __init__(self, file):
        super().__init__(file)
        self.file = file
        self.definitions: dict[str, Any] = {}
        self.generators: list[Any] = []

    def reducer_override(self, obj):
        if is_found_by_name(obj):
            return super().reducer_override(obj)
        if isinstance(obj, functools._lru_cache_wrapper):
            self._collect(obj)
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        if getattr(obj, "__code__", None) is _DISPATCHER.__code__:
            self._collect(obj)
            return _dispatcher, (obj.registry[object], list(obj.registry.items()))
        if type(obj) is functools.cached_property:
            return _cached_property, (obj.func, obj.attrname)
        if type(obj) in _BY_NAME:
            self._collect(obj)
            return _of_main, (type(obj), *(getattr(obj, name) for name in _BY_NAME[type(obj)]))
        if type(obj).__name__ in _GENERATORS and type(obj).__module__ != _MAIN:
            self.generators.append(obj)
        if isinstance(obj, types.FunctionType):
            self._collect(obj)
        return self._class(obj) if isinstance(obj, type) else super().reducer_override(obj)

    def _class(self, made):
        self._collect(made)
        reduced = super().reducer_override(made)
        if isinstance(reduced, tuple) and len(reduced) == 6:  # pickled by value, with a state
            maker, arguments, state, *rest = reduced
            state[0].setdefault("__qualname__", made.__qualname__)  # cloudpickle omits it
            return classes_on_rank.make, (maker, arguments, type(made)), state, *rest
        return reduced

    def _collect(self, obj):
        if obj.__module__ != _MAIN:
            return
        if isinstance(obj, types.FunctionType):
            self.globals_ref.setdefault(id(obj.__globals__), _MainNames())
            named = names_as_text(obj) & _main_names().keys()
            self.definitions |= {name: _main_names()[name] for name in named if name[:2] != "__"}
        name, *inner = getattr(obj, "__qualname__", obj.__name__).split(".")
        found = getattr(sys.modules[_MAIN], name, _MISSING)
        if found is not _MISSING:
            self.definitions[name] = found
        elif not inner and name.isidentifier():
            self.definitions[name] = obj


def _of_main(kind, *arguments):
    made = kind(*arguments)
    with contextlib.suppress(AttributeError):  # a TypeAliasType does not let it be set
        made.__module__ = _MAIN
    return made


def _cached(function, parameters):
    return functools.lru_cache(**parameters)(function)


def _dispatcher(function, registry):
    dispatcher = functools.singledispatch(function)
    for kind, implementation in registry:
        dispatcher.register(kind, implementation)
    return dispatcher


def _cached_property(function, name):
    """Return a cached property with its name.

    A class that is pickled by value gets its attributes after it is made, so Python does not set
    the name.
    """
    made = functools.cached_property(function)
    if name is not None:
        made.__set_name__(None, name)
    return made
