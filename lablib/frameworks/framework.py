"""The interface of a framework: everything in the kit that depends on the framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lablib.errors import LabError

if TYPE_CHECKING:
    import numpy as np

    from lablib.frameworks.rank_config import RankConfig
    from lablib.record.recorder import Recorder


class TimedWork(Protocol):
    """The operations that `lab.Hardware.measure` times. Each method returns a function to call."""

    def product(self, width: int) -> Any:
        """Multiply two square matrices of width `width` and type float32."""

    def copy(self, nbytes: int) -> Any:
        """Copy a tensor of `nbytes` bytes."""

    def all_reduce(self, floats: int) -> Any:
        """Sum a tensor of `floats` float32 numbers over all ranks."""


class Model(Protocol):
    """A task's model in one framework, with its loss."""

    def build(self, seed: int, numbers: range) -> Any:
        """Return a model of the blocks with these numbers; only these blocks are allocated."""

    def loss(self, outputs: Any, y: Any) -> Any:
        """Return the mean loss of the model's outputs and the targets, a scalar tensor."""

    def arrays(self, model: Any) -> dict[str, np.ndarray]:
        """Return copies of the weights of a model or a stage, by their canonical names."""


class Framework(Protocol):
    """One framework. Its object gives basic facts without importing the framework.

    packages          the packages that it is imported as
    first_imports     the modules that every rank needs before its first line
    later_imports     the modules that the framework imports when a model is trained. Importing them
                      before the first rank starts would double the time until then, and importing
                      them in every rank would take seconds each time
    own_network       True: its servers listen on every interface, so its ranks get their own
                      network
    one_port          True: all ranks meet at one port; False: each rank's server has a port
    devices           the kinds of devices on which its ranks can compute
    dry_runs          True: its ranks can compute shapes instead of values
    memory_counted    what the memory of a modelled run counts: "tensors" or "graph"
    senders           beginnings of the names of modules that send messages from C++
    cures             what to return instead of a value that cannot be sent, by the package and the
                      name of its type
    """

    name: str
    packages: tuple[str, ...]
    first_imports: tuple[str, ...]
    later_imports: tuple[str, ...] = ()
    own_network: bool = False
    one_port: bool = False
    devices: tuple[str, ...] = ("cpu",)
    dry_runs: bool = False
    memory_counted: str
    senders: tuple[str, ...] = ()
    cures: Mapping[tuple[str, str], str]

    def threads_of_a_rank(self, cores: int) -> int:
        """Return how many threads the framework may start in one rank on `cores` cores."""

    def counts_cpu_seconds(self, threads: int) -> bool:
        """Return True if a measured rank with this many threads records CPU seconds."""

    def serves(self, roles: set[str], role: str) -> bool:
        """Return True if a rank of this role runs the framework's server, not the function.

        roles   the roles of all ranks of the cluster
        """
        return False

    def environment(self, seats: Sequence[Any], seat: Any, ports: list[int]) -> dict[str, str]:
        """Return the environment variables that this framework's own launchers set for a rank.

        seats   the seats of all ranks; each has `rank`, `role`, `index` and `node`
        seat    the seat of this rank
        ports   the port of each rank, by rank
        """

    def limit_threads(self, threads: int) -> None:
        """Limit each thread pool of this process to `threads` threads."""

    def forget_random_state(self) -> None:
        """Make unseeded random numbers differ from those of other forks of the same parent."""

    def join(self, recorder: Recorder, config: RankConfig) -> None:
        """Make this process a rank, and record its messages and what it computes."""

    def explained(self, function: Callable) -> Callable:
        """Return the function of a dry run, with clear errors where it needs values of tensors."""

    def server(self) -> Any:
        """Start the server of a rank that `serves`. Raises ServerNotStarted."""

    def device(self, name: str) -> Any:
        """Return the framework's object for the device with this name.

        Raises LabError if the framework has no such object, because it places tensors itself.
        """
        raise _places_tensors_itself("me.torch_device", self.name)

    def put(self, value: Any, name: str) -> Any:
        """Move tensors, arrays and modules to the device with this name. See `Rank.put`."""
        raise _places_tensors_itself("me.put", self.name)

    def owns(self, value: Any) -> bool:
        """Return True if the value is a tensor of this framework; False if it is not imported."""

    def as_array(self, tensor: Any) -> np.ndarray:
        """Return the tensor's values. Raises NoPlainValues if NumPy cannot represent them."""

    def chain(self, chain: Any) -> Model:
        """Return the model that a `lablib.tasks.chain.Chain` describes."""

    def out_of_memory(self) -> tuple[type[BaseException], ...]:
        """Return the exception types that mean "out of memory"; () if it is not imported."""

    def lost_peer(self) -> tuple[type[BaseException], ...]:
        """Return the exception types that mean "another rank is gone"; () if not imported."""

    def timed_work(self) -> TimedWork:
        """Return the work that `lab.Hardware.measure` times. Call it before any other operation."""


class NoPlainValues(TypeError):
    """A tensor has no values that NumPy can represent.

    what   what kind of tensor it is; "" if its type already says it
    do     what to use instead; "" if `Framework.cures` says it
    """

    def __init__(self, what: str = "", do: str = ""):
        super().__init__(what)
        self.what, self.do = what, do


def _places_tensors_itself(what, name):
    return LabError(
        f"{what} is for PyTorch only.",
        saw=f"a rank that runs {name}, which places tensors itself",
        do='omit it, or write "with tf.device(...):" to choose a device',
    )
