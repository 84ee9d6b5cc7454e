"""Definitions of a notebook's cells. The test runs this text as `__main__`; nothing imports it.

Each function whose name begins with `job_` runs on the ranks and returns True.
"""

import enum
import functools
import io
import multiprocessing
import pickle
import typing
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

SCALE = 3
TABLE = {"double": lambda x: 2 * x, "square": lambda x: x * x}


@dataclass
class Metric:
    hits: int

    @functools.cached_property
    def twice(self):
        return 2 * self.hits


@dataclass(frozen=True, slots=True)
class Slotted:
    hits: int


class Kind(enum.Enum):
    TRAIN = "train"


class Flag(enum.IntFlag):
    A = 1
    B = 2


class Pair(typing.NamedTuple):
    a: int
    b: float = 1.0


class Options(typing.TypedDict, total=False):
    rate: float


T = typing.TypeVar("T")
P = typing.ParamSpec("P")
Ts = typing.TypeVarTuple("Ts")
Hits = typing.NewType("Hits", int)
MoreHits = typing.NewType("MoreHits", Hits)


class Box(typing.Generic[T]):
    class Inner:
        def __init__(self, content):
            self.content = content

    def __init__(self, content: T):
        self.content = self.Inner(content)


class Sized(typing.Protocol):
    def size(self) -> int: ...


class Own(Sized):
    def size(self):
        return 4


class Failure(ValueError):
    pass


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.inner(x)


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, row):
        return SCALE * row


@functools.cache
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@functools.lru_cache(maxsize=2)
def scaled(x):
    return SCALE * x


@functools.singledispatch
def described(x):
    return "object"


@described.register
def _(x: int):
    return "int of " + described("")


@described.register(list)
def of_list(x):
    return [described(y) for y in x]


class Overloaded:
    @functools.singledispatchmethod
    def size(self, x):
        return 1

    @size.register
    def _(self, x: str):
        return len(x)

    @functools.lru_cache  # noqa: B019
    def cached(self, x):
        return x + 1


def counted(x):
    counted.calls += 1
    return x


counted.calls = 0
COUNT = 0


def count():
    global COUNT
    COUNT += 1
    return COUNT


def square(x):
    return x * x


def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)


def twice(function: typing.Callable[P, T]) -> typing.Callable[P, tuple[T, T]]:
    def call(*args: P.args, **options: P.kwargs) -> tuple[T, T]:
        return function(*args, **options), function(*args, **options)

    return call


@twice
def typed(hits: Hits, *others: *Ts) -> MoreHits:
    return MoreHits(hits + 1)


add_three = functools.partial(lambda a, b: a + b, SCALE)
vectorized = np.vectorize(square)
METRIC = Metric(5)


def everybodys(me, value):
    gathered = [None] * me.ranks
    dist.all_gather_object(gathered, value)
    return gathered


def again(value):
    return pickle.loads(pickle.dumps(value))


class Registered(type):
    """Puts its classes into two registries, and needs an argument."""

    known = {}

    def __new__(metaclass, name, bases, names, *, key):
        made = super().__new__(metaclass, name, bases, names)
        metaclass.known[key] = made
        return made

    def __init__(cls, name, bases, names, *, key):
        super().__init__(name, bases, names)
        REGISTRY.append(cls)


REGISTRY = []


class Plug(metaclass=Registered, key="plug"):
    pass


class SmallPlug(Plug, key="small"):
    pass


class Tagged:
    kinds = []

    def __init_subclass__(cls, *, tag):
        super().__init_subclass__()
        cls.tag = tag
        Tagged.kinds.append(cls)


class First(Tagged, tag="first"):
    pass


class AnyCase(enum.EnumMeta):
    def __getitem__(cls, name):
        return super().__getitem__(name.upper())


class Level(enum.Enum, metaclass=AnyCase):
    LOW = 1


def job_a_dataclass_is_gathered(me):
    gathered = everybodys(me, Metric(me.rank))
    return gathered == [Metric(0), Metric(1)] and all(isinstance(m, Metric) for m in gathered)


def job_a_class_that_only_an_instance_names(me):
    return type(again(METRIC)) is type(METRIC) and again(METRIC).twice == 10


def job_slots_enum_and_tuples(me):
    values = [Slotted(1), Kind.TRAIN, Flag.A | Flag.B, Pair(1), Options(rate=0.1)]
    return everybodys(me, values) == [values, values] and again(Kind.TRAIN) is Kind.TRAIN


def job_generic_protocol_and_inner_class(me):
    box = again(Box[int](2))
    return isinstance(box.content, Box.Inner) and box.content.content == 2 and Own().size() == 4


def job_an_inner_class_alone(me, inner=Box.Inner):
    return isinstance(again(inner(1)), inner)


def job_an_exception(me):
    return isinstance(again(Failure("no")), Failure)


def job_functions(me):
    same = [again(f) is f for f in (square, factorial, fibonacci, described)]
    return all(same) and add_three(1) == 4 and factorial(4) == 24


def job_names_for_types(me):
    same = [again(name) is name for name in (Hits, MoreHits, P, Ts)]
    return all(same) and typed(Hits(1)) == (2, 2) and MoreHits.__supertype__ is Hits


def job_save_a_model(me):
    file = io.BytesIO()
    torch.save(Net(), file)
    file.seek(0)
    return isinstance(torch.load(file, weights_only=False), Net)


def job_cached_functions(me):
    return (fibonacci(30), scaled(2)) == (832040, 6) and scaled.cache_info().maxsize == 2


def job_dispatched_functions(me):
    seen = described([1, "a"]), Overloaded().size("abc"), Overloaded().cached(1)
    return seen == (["int of object", "object"], 3, 2)


def job_attributes_globals_and_tables(me):
    counted(1)
    return (counted.calls, count(), count(), TABLE["double"](2), COUNT) == (1, 1, 2, 4, 2)


def job_vectorized(me):
    return vectorized([1, 2]).tolist() == [1, 4]


def job_a_pool_of_forks(me):
    with multiprocessing.Pool(2) as pool:
        return pool.map(square, [1, 2, 3]) == [1, 4, 9]


def job_a_pool_of_new_processes(me):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        metrics = pool.map(Metric, [1, 2])
        return metrics == [Metric(1), Metric(2)] and pool.map(scaled, [2]) == [6]


def job_spawned_workers_of_a_loader(me):
    loader = torch.utils.data.DataLoader(Rows(), num_workers=1, multiprocessing_context="spawn")
    return [int(row) for row in loader] == [0, 3, 6, 9]


def job_a_registry_of_a_metaclass(me):
    fits = SmallPlug.__bases__ == (Plug,) and type(SmallPlug) is Registered
    known = Registered.known == {"plug": Plug, "small": SmallPlug}
    return fits and known and REGISTRY == [Plug, SmallPlug]


def job_a_registry_of_subclasses(me):
    return First.tag == "first" and First.__bases__ == (Tagged,) and Tagged.kinds == [First]


def job_an_enumeration_with_a_metaclass(me):
    return Level["low"] is Level.LOW and Level(1) is Level.LOW


AS_TEXT, AS_ATTRIBUTE, IN_AN_EXPRESSION = 2, 3, 4


def job_names_as_text(me):
    import __main__

    def inner():
        return globals()["AS_TEXT"]

    values = inner(), __main__.AS_ATTRIBUTE, eval("IN_AN_EXPRESSION + 1")
    return values == (2, 3, 5)
