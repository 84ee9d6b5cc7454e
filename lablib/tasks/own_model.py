"""OwnModel: a user's own torch module and loss, as a task's model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lablib.errors import LabError
from lablib.tasks import own_blocks
from lablib.tasks.own_blocks import OwnBlock
from lablib.tasks.own_code import attempt
from lablib.tasks.own_files import Folder, writing


@dataclass(frozen=True)
class OwnModel:
    """A torch module with its loss; its arrays have the names of its state_dict.

    make        makes a new module at each call; the user's own function, or `Saved`
    torch_loss  (outputs, y) -> a scalar tensor, the mean over the samples
    blocks      several for an nn.Sequential that can be cut; else one
    moving      names of the buffers that a forward pass changes, such as "1.running_mean"
    """

    make: Callable[[], Any]
    loss: Callable
    blocks: tuple[OwnBlock, ...] = ()
    moving: tuple[str, ...] = ()
    frameworks = ("torch",)

    def within(self, framework: str) -> OwnModel:
        """Return this model, which exists in one framework only."""
        return self

    def tried(self, x: np.ndarray, y: np.ndarray) -> OwnModel:
        """Return a copy with its blocks, which one training step on this batch has found."""
        import torch

        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(0)
            model = attempt("The function that makes the model", "correct it", self.make)
            _check(model)
            _check_loss(self.loss)
            before = {name: buffer.clone() for name, buffer in model.named_buffers()}
            samples = map(torch.from_numpy, (x, y))
            blocks = own_blocks.tried(model, self.loss, *samples)
            after = dict(model.named_buffers())
            moving = [name for name in before if not torch.equal(before[name], after[name])]
            return replace(self, blocks=blocks, moving=tuple(moving))

    def weights(self, seed: int) -> dict[str, np.ndarray]:
        """Return the state_dict before training."""
        import torch

        with torch.random.fork_rng(devices=[]):
            return self.arrays(self.build(seed, range(len(self.blocks))))

    def build(self, seed: int, numbers: range) -> Any:
        """Return the module, or an nn.Sequential of the layers of some blocks, with their names.

        This sets torch's seed, which also decides the random numbers of training.
        """
        import torch

        torch.manual_seed(seed)
        model = self.make()
        if len(numbers) == len(self.blocks):
            return model
        # named_children omits a layer that occurs twice.
        modules = model.named_modules(remove_duplicate=False)
        layers = [(name, layer) for name, layer in modules if name and "." not in name]
        places = [place for number in numbers for place in self.blocks[number].layers]
        return torch.nn.Sequential(OrderedDict(layers[place] for place in places))

    def arrays(self, model) -> dict[str, np.ndarray]:
        """Return copies of the state_dict of a model or a stage; bfloat16 becomes float32."""
        import torch
        from torch.nn.parallel import DistributedDataParallel

        if isinstance(model, DistributedDataParallel):
            model = model.module
        state = {
            name: value for name, value in model.state_dict().items() if torch.is_tensor(value)
        }
        return {name: _copy(value) for name, value in state.items()}


class Saved:
    """A module as the user gave it, in a file that the ranks map.

    A rank reads only what it uses, and its changes stay private.
    """

    def __init__(self, model: Any):
        import cloudpickle
        import torch

        self.folder = Folder()
        with writing(), open(self.folder.path / "model", "wb") as file:
            attempt(
                "The model cannot be sent to the ranks, because saving it",
                "give a function that makes the model, for example lambda: Net()",
                lambda: torch.save(model, file, cloudpickle, cloudpickle.DEFAULT_PROTOCOL),
            )

    def __call__(self) -> Any:
        import torch

        return torch.load(self.folder.path / "model", mmap=True, weights_only=False)


def kept(model: Any, loss: Callable) -> OwnModel:
    """Keep the module as it is now, or the function that makes it; raise LabError for others."""
    from torch import nn

    if not callable(loss):
        raise LabError(
            "The loss must be a function.",
            saw=f"a {type(loss).__name__}",
            do="write, for example, nn.CrossEntropyLoss(), or lambda outputs, y: ...",
        )
    if isinstance(loss, nn.Module) and [*loss.parameters(), *loss.buffers()]:
        loss = _MovingLoss(loss)
    if isinstance(model, nn.Module):
        _check(model)
        return OwnModel(Saved(model), loss)
    if not callable(model):
        _refuse("It is not a module.", f"a {type(model).__name__}", "give an nn.Module")
    return OwnModel(model, loss)


@dataclass(frozen=True)
class _MovingLoss:
    """A loss with tensors of its own, such as the weights of classes: they follow the outputs."""

    loss: Any

    def __call__(self, outputs, y):
        return self.loss.to(outputs.device)(outputs, y)


def name_of(model: Any) -> str:
    """Return the name of the function or the class."""
    name = getattr(model, "__name__", type(model).__name__)
    return "own model" if name == "<lambda>" else name


def _check(model):
    from torch import nn
    from torch.nn.parameter import is_lazy

    if not isinstance(model, nn.Module):
        made = f"a function that returned a {type(model).__name__}"
        _refuse("It is not a module.", made, "return an nn.Module")
    if any(map(is_lazy, model.parameters())):
        _refuse("It has no shape yet.", "a lazy layer", "call it once on a batch before this")
    elsewhere = {str(t.device) for t in (*model.parameters(), *model.buffers())} - {"cpu"}
    if elsewhere:
        _refuse("It is not on the CPU.", f"weights on {min(elsewhere)}", "give model.cpu()")
    if not any(weight.requires_grad for weight in model.parameters()):
        _refuse("It has no trainable weights.", "no parameter with requires_grad", "add weights")


def _check_loss(loss):
    loss = loss.loss if isinstance(loss, _MovingLoss) else loss
    weights = loss.named_parameters() if hasattr(loss, "named_parameters") else ()
    names = [name for name, weight in weights if weight.requires_grad]
    if names:
        raise LabError(
            "The loss has trainable weights, which no strategy trains.",
            saw=f"{type(loss).__name__} with {', '.join(names)}",
            do="move these weights into the model, or freeze them: loss.requires_grad_(False)",
        )


def _refuse(why, saw, do):
    raise LabError(f"This model cannot be trained. {why}", saw=saw, do=do)


def _copy(tensor):
    import torch

    from lablib.frameworks.torch.compat import FakeTensor
    from lablib.frameworks.torch.model import unknown_array, whole

    tensor = whole(tensor).cpu()
    if type(tensor) is FakeTensor:
        return unknown_array(tensor)
    return np.array((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())
