"""An engineer's own torch model trains like a task of the kit, or an error says what to change."""

from __future__ import annotations

import threading

import numpy as np
import own_models
import pytest
import torch
from own_models import X, Y, own
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import lablib as lab
from lablib.cluster.local import launch
from lablib.strategies import get

DIGITS = lab.tasks.get("digits-mlp")


def trained(strategy, task, ranks, steps=8, **options):
    run = lab.train(
        strategy, framework="torch", task=task, ranks=ranks, steps=steps, threads=1,
        progress=False, timeout_s=60, **options,
    )  # fmt: skip
    return run.history


def equal(a, b):
    """Return True if they are equal bit for bit."""
    same = [np.array_equal(a.weights[name], b.weights[name]) for name in b.weights]
    return a.loss == b.loss and a.weights.keys() == b.weights.keys() and all(same)


def digits_again(seed=0):
    return own(DIGITS.torch_model(seed), DIGITS.data(), DIGITS.torch_loss, 64, lr=DIGITS.lr)


@pytest.mark.parametrize(
    "strategy, ranks", [("single", 1), ("ddp", 2), ("pipeline_split", 2), ("pipeline_split", 4)]
)
def test_the_kits_model_given_as_ones_own_trains_to_exactly_the_same(strategy, ranks):
    kits, mine = (trained(strategy, task, ranks) for task in (DIGITS, digits_again()))
    assert kits.loss == mine.loss
    # torch's Linear stores its matrix transposed
    turned = {name.replace("weight", "kernel"): a.T for name, a in mine.weights.items()}
    assert turned.keys() == kits.weights.keys()
    assert all(np.array_equal(turned[name], kits.weights[name]) for name in turned)


def test_that_claim_can_fail():
    assert trained("single", digits_again(seed=1), 1).loss != trained("single", DIGITS, 1).loss


def test_the_kits_model_given_as_ones_own_is_cut_at_the_same_places():
    mine = digits_again()
    assert [b.flops for b in mine.chain] == [b.flops for b in DIGITS.chain]
    assert mine.cut(3) == DIGITS.cut(3)
    assert (mine.parameters, mine.weight_bytes) == (DIGITS.parameters, DIGITS.weight_bytes)
    assert [b.shape_out for b in mine.chain] == [b.shape_out for b in DIGITS.chain]


MODELS = {
    "mlp": (own_models.mlp, (X, Y)),
    "tokens": (own_models.lstm, own_models.tokens()),
    "channels last": (own_models.convolutions, (X, Y)),
    "float64": (own_models.precise, own_models.digits(np.float64)),
    "frozen": (own_models.frozen, (X, Y)),
}


@pytest.mark.parametrize("made", [True, False], ids=["by a function", "given"])
@pytest.mark.parametrize("name", MODELS)
def test_every_strategy_is_the_single_process(name, made):
    make, data = MODELS[name]
    task = own(make if made else make(), data, lr=0.1)
    one = trained("single", task, 1)
    assert equal(trained("pipeline_split", task, 2), one)
    many = trained("ddp", task, 2)
    assert np.allclose(many.loss, one.loss, rtol=1e-4)
    assert all(np.allclose(many.weights[n], one.weights[n], atol=1e-5) for n in one.weights)
    assert one.loss[0] != one.loss[-1]


CELL = """
import torch
from torch import nn

class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, x):
        if not self.training:
            return self.out(x)
        return self.out(torch.tanh(self.inner(x)))

class Rows(torch.utils.data.Dataset):
    def __init__(self, x, y):
        self.x, self.y = torch.tensor(x), y
    def __len__(self):
        return len(self.x)
    def __getitem__(self, row):
        return self.x[row], int(self.y[row])

def loss(outputs, y):
    return nn.functional.cross_entropy(outputs, y)
"""


def cell():
    names = {"__name__": "__main__"}
    exec(compile(CELL, "ipykernel_1/2.py", "exec"), names)
    return names


def test_what_a_cell_defines_travels_to_the_ranks():
    mine = cell()
    given, made = (
        own(model, mine["Rows"](X, Y), mine["loss"]) for model in (mine["Mine"](), mine["Mine"])
    )
    assert made.name == given.name == "Mine"
    for task in (given, made):
        one, two = trained("single", task, 1), trained("ddp", task, 2)
        assert np.allclose(one.loss, two.loss, rtol=1e-4)


def test_a_cells_line_is_shown_when_its_forward_fails():
    model = cell()["Mine"]().eval()
    with pytest.raises(lab.LabError) as caught:
        own(model)
    assert caught.value.wrong == "The model raised RuntimeError."
    assert "cell, line 12" in caught.value.saw
    assert "x is float32 (16, 64)" in caught.value.saw
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_dataset_is_the_arrays_that_it_holds():
    sets = [(X, Y), TensorDataset(torch.tensor(X), torch.tensor(Y)), lambda: (X, Y)]
    batches = [own(own_models.mlp, data).batch_at(3) for data in sets]
    for x, y in batches:
        assert x.dtype == np.float32 and y.dtype == np.int64
        assert np.array_equal(x, batches[0][0]) and np.array_equal(y, batches[0][1])


@pytest.mark.parametrize(
    "make, data, layers",
    [
        (own_models.mlp, (X, Y), [range(0, 3), range(3, 5), range(5, 6)]),
        (own_models.lstm, own_models.tokens(), [range(0, 1), range(1, 3), range(3, 4)]),
        (own_models.frozen, (X, Y), [range(0, 5), range(5, 6)]),
        (own_models.tied, (X, Y), [range(0, 5)]),
        (own_models.Halves, (X, Y), [range(0, 1)]),
    ],
)
def test_a_model_is_cut_only_where_both_sides_can_train_alone(make, data, layers):
    task = own(make, data)
    assert [block.layers for block in task.chain] == layers
    assert task.parameters == sum(weight.numel() for weight in make().parameters())


@pytest.mark.parametrize("name", MODELS)
def test_stages_in_turn_are_the_whole_model(name):
    make, data = MODELS[name]
    task = own(make, data)
    x = outputs = torch.from_numpy(task.batch_at(0)[0])
    names = []
    for blocks in task.cut(2):
        like = task.torch_input(blocks[0], len(x))
        assert (outputs.shape, outputs.dtype) == (like.shape, like.dtype)
        stage = task.torch_model(0, blocks)
        outputs = stage(outputs)
        names += task.torch_arrays(stage)
    assert torch.equal(outputs, task.torch_model(0)(x))
    assert names == [*task.weights()] == [*make().state_dict()]


def test_a_function_makes_other_weights_for_another_seed_a_module_keeps_its_own():
    made, given = own(own_models.mlp), own(own_models.mlp())
    differ = [
        not np.array_equal(task.weights(0)["1.weight"], task.weights(1)["1.weight"])
        for task in (made, given)
    ]
    assert differ == [True, False]


def test_dropout_follows_from_the_seed():
    task = own(own_models.Halves())
    first, again, other = (trained("ddp", task, 2, seed=seed, batch=32) for seed in (3, 3, 4))
    assert equal(first, again) and not equal(first, other)


def test_ddp_trains_a_model_with_an_idle_layer_when_it_is_told():
    task = own(own_models.Idle)
    assert len(trained("ddp", task, 2, find_unused_parameters=True).loss) == 8
    with pytest.raises(lab.RankFailed, match="find_unused_parameters=True"):
        trained("ddp", task, 2)


def test_the_weights_of_a_run_are_a_state_dict_buffers_included():
    history = trained("ddp", own(own_models.Halves), 2)
    model = own_models.Halves()
    model.load_state_dict({name: torch.as_tensor(a) for name, a in history.weights.items()})
    assert model.norm.num_batches_tracked == 8 and model.norm.running_mean.any()


def test_a_task_keeps_the_weights_of_its_making_and_touches_nothing_of_the_user():
    model, drawn = own_models.Halves(), torch.get_rng_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    task = own(model)
    trained("single", task, 1)
    task.weights()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
    assert torch.equal(drawn, torch.get_rng_state())
    nn.init.zeros_(model.out.weight)
    assert np.array_equal(task.weights()["out.weight"], before["out.weight"].numpy())


def test_a_batch_may_be_larger_than_the_data():
    task = own(own_models.mlp, (X[:5], Y[:5]), batch=12)
    assert sorted(task.batch_at(0)[1])[::2] != [] and len(task.batch_at(0)[0]) == 12
    assert len(trained("ddp", task, 2, steps=2).loss) == 2


class Endless(IterableDataset):
    def __iter__(self):
        return iter(())


class Uneven(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, row):
        return np.zeros(row + 1), 0


class Raises(nn.Linear):
    def forward(self, x):
        raise KeyError("missing")


class Locked(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.lock = threading.Lock()


def meta():
    return nn.Linear(64, 10, device="meta")


def summed(outputs, y):
    return nn.functional.cross_entropy(outputs, y, reduction="sum")


def of_outputs(change):
    return lambda outputs, y: change(nn.functional.cross_entropy(outputs, y))


WRONG = [
    (dict(model="resnet"), "It is not a module", "a str"),
    (dict(model=lambda: 3), "It is not a module", "returned a int"),
    (dict(model=meta()), "not on the CPU", "weights on meta"),
    (dict(model=meta), "not on the CPU", "weights on meta"),
    (dict(model=nn.Flatten()), "no trainable weights", "no parameter"),
    (dict(model=nn.LazyLinear(10)), "no shape yet", "lazy"),
    (dict(model=nn.Linear(32, 10)), "The model raised RuntimeError", "x is float32 (16, 64)"),
    (
        dict(model=nn.Sequential(nn.Linear(64, 8), nn.Linear(9, 10))),
        "Layer 1 of the model",
        "shape",
    ),
    (dict(model=Raises(64, 10)), "The model raised KeyError", 'raise KeyError("missing")'),
    (dict(model=lambda: 1 / 0), "makes the model raised Zero", "lambda: 1 / 0"),
    (dict(model=Locked(64, 10)), "The model cannot be sent", "thread.lock"),
    (dict(loss=3), "must be a function", "a int"),
    (dict(loss=nn.CrossEntropyLoss(reduction="none")), "one number", "shape (16,)"),
    (dict(loss=summed), "not their sum", "for the halves"),
    (dict(loss=of_outputs(lambda loss: loss.item())), "one number", "a float"),
    (dict(loss=of_outputs(lambda loss: loss.detach())), "does not depend", "without a gradient"),
    (dict(loss=nn.BCELoss()), "The loss raised ValueError", "y is int64 (16,)"),
    (
        dict(loss=Locked(64, 10)),
        "The loss or another function of the task cannot be sent",
        "thread.lock",
    ),
    (dict(data=(X, Y[:-1])), "can be trained on these data", "1438 rows in x, 1437 in y"),
    (dict(data=(X[:0], Y[:0])), "can be trained on these data", "x has shape (0, 64)"),
    (dict(data=(X, "one")), "can be trained on these data", "y has type"),
    (dict(data=X), "can be trained on these data", "a ndarray"),
    (dict(data=lambda: X), "can be trained on these data", "a ndarray"),
    (dict(data=lambda: 1 / 0), "given as data raised Zero", "lambda: 1 / 0"),
    (dict(data=[(X[0], Y[0])] * 3), "can be trained on these data", "a list of 3"),
    (dict(data=Uneven()), "can be trained on these data", "sample 1 has float64 (2,)"),
    (dict(data=Endless()), "can be trained on these data", "no length"),
    (dict(data=DataLoader(Uneven())), "can be trained on these data", "DataLoader"),
    (dict(data=(torch.tensor(X).bfloat16(), Y)), "x cannot be read", "BFloat16"),
    (dict(data=(X.astype(np.float64), Y)), "raised RuntimeError", "weights are float32"),
    (dict(batch=0), "batch must be", "batch=0"),
    (dict(lr="fast"), "lr must be", "lr='fast'"),
    (dict(momentum=-1), "momentum must be", "momentum=-1"),
]


@pytest.mark.parametrize("given, words, seen", WRONG, ids=[f"{w}: {s}" for _, w, s in WRONG])
def test_what_cannot_be_trained_is_said_at_once_with_the_cure(given, words, seen):
    with pytest.raises(lab.LabError) as caught:
        own(**dict(model=own_models.mlp()) | given)
    assert words in caught.value.wrong
    assert seen in caught.value.saw
    assert caught.value.do


def test_data_in_another_type_than_the_weights_are_answered_with_the_type():
    with pytest.raises(lab.LabError, match="type of the weights: float32"):
        own(own_models.mlp(), (X.astype(np.float64), Y))


def in_bfloat16():
    return nn.Linear(64, 10).bfloat16()


class Converts(nn.Linear):
    def forward(self, x):
        return super().forward(x.bfloat16()).float()


class Pairs(nn.Module):
    def __init__(self):
        super().__init__()
        self.users, self.items = nn.Embedding(40, 8), nn.Embedding(60, 8)

    def forward(self, u, v):
        return (self.users(u) * self.items(v)).sum(1)


class Centres(nn.Module):
    def __init__(self):
        super().__init__()
        self.centres = nn.Parameter(torch.zeros(10, 10))

    def forward(self, outputs, y):
        return nn.functional.cross_entropy(outputs + outputs @ self.centres, y)


U, V = np.arange(96) % 40, np.arange(96) % 60
CURES = [
    (dict(model=in_bfloat16), "give model.float(), or let forward(x) convert x to bfloat16"),
    (dict(data=(torch.tensor(X).bfloat16(), Y)), "a model with other weights converts x"),
    (dict(model=Pairs, data=((U, V), np.float32(U))), "np.stack([u, v], axis=1)"),
    (dict(model=Pairs, data=({"u": U, "v": V}, np.float32(U))), "np.stack([u, v], axis=1)"),
    (dict(model=Pairs, data=(np.stack([U, V], axis=1), np.float32(U))), "let forward(x) take one"),
    (dict(loss=Centres()), "move these weights into the model"),
    (
        dict(
            model=nn.Sequential(nn.Linear(64, 1), nn.Flatten(0)),
            loss=nn.BCEWithLogitsLoss(),
            data=(X, Y % 2),
        ),
        "give y as float32",
    ),
]


@pytest.mark.parametrize("given, cure", CURES, ids=[cure for _, cure in CURES])
def test_the_cure_fits_what_is_wrong(given, cure):
    with pytest.raises(lab.LabError) as caught:
        own(**dict(model=own_models.mlp()) | given)
    assert cure in caught.value.do


def converting():
    return Converts(64, 10).bfloat16()


def test_the_cures_for_bfloat16_work():
    own(lambda: in_bfloat16().float())
    assert len(trained("ddp", own(converting), 2, steps=2).loss) == 2


class Counter(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls = self.calls + 1
        return super().forward(x)


@pytest.mark.parametrize(
    "model, noted",
    [
        (own_models.Halves(), "norm.running_mean"),
        (Counter(64, 10), "(calls)"),
        (own_models.Halves().eval(), ""),
        (own_models.mlp(), ""),
    ],
)
def test_a_note_before_training_names_the_buffers_that_each_rank_computes(model, noted, capsys):
    own(model)
    printed = capsys.readouterr().out
    assert noted in printed
    assert bool(noted) == ("each rank computes them from its own samples" in printed)


@pytest.mark.parametrize(
    "strategy, words",
    [
        ("pipeline_split", "needs a model that can be cut, and Halves cannot"),
        ("multi_worker_mirrored", "Halves cannot be trained in tensorflow"),
        ("device_split", "Halves cannot be trained in tensorflow"),
    ],
)
def test_a_strategy_that_cannot_train_it_says_so_before_any_process(strategy, words, monkeypatch):
    monkeypatch.setattr(launch, "zygote", lambda *_: pytest.fail("a process was started"))
    task = own(own_models.Halves())
    with pytest.raises(lab.LabError, match=words):
        lab.train(strategy, task=task, ranks=2)
    assert get(strategy).STRATEGY.why_not(task) and not get(strategy).STRATEGY.why_not(DIGITS)
    with pytest.raises(lab.LabError, match="cannot be trained in tensorflow"):
        task.tensorflow_model()


def test_a_loss_with_tensors_of_its_own_computes_where_the_outputs_are():
    weighted = nn.CrossEntropyLoss(weight=torch.ones(10))
    task = own(DIGITS.torch_model(), DIGITS.data(), weighted, 64)
    outputs, y = torch.ones(4, 10), torch.zeros(4, dtype=torch.int64)
    assert torch.equal(task.torch_loss(outputs, y), weighted(outputs, y))
    assert task.torch_loss(outputs.to("meta"), y.to("meta")).is_meta
