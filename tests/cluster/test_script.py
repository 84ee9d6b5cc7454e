"""A program that was written for torchrun or for TF_CONFIG runs unchanged, with the same losses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import lablib as lab
from lablib import cli
from lablib.cluster import script
from lablib.errors import LabError

DDP = """
    import argparse, os, torch, torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
    import data_of_mine

    def main():
        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float)
        lr = parser.parse_args().lr
        dist.init_process_group("gloo")
        torch.manual_seed(0)
        model = DistributedDataParallel(torch.nn.Linear(4, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr)
        for step in range(4):
            x = data_of_mine.batch(step, int(os.environ["RANK"]))
            loss = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        names = "RANK", "LOCAL_RANK", "WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE"
        seen = [os.environ[name] for name in names]
        os.write(1, f"RESULT {' '.join(seen)} {lr} {loss.item().hex()}\\n".encode())  # in one piece
        assert dist.is_torchelastic_launched()
        dist.destroy_process_group()

    if __name__ == "__main__":
        main()
"""
DATA = """
    import torch

    def batch(step, rank):
        torch.manual_seed(100 * step + rank)
        return torch.randn(8, 4)
"""
KERAS = """
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        weight = tf.Variable(1.0)

    @tf.function
    def step(x):
        return strategy.reduce("SUM", strategy.run(lambda: x * weight), axis=None)

    print("RESULT", float(step(2.0)), strategy.num_replicas_in_sync, flush=True)
"""
PIPELINE = """
    import copy, os, torch, torch.distributed as dist
    from torch.distributed.pipelining import PipelineStage, ScheduleGPipe

    dist.init_process_group()
    group = dist.new_group()
    rank = int(os.environ["LOCAL_RANK"])
    torch.manual_seed(0)
    whole = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    mine = copy.deepcopy(whole[:2] if rank == 0 else whole[2:])
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    loss, losses = torch.nn.functional.mse_loss, []
    stage = PipelineStage(mine, rank, dist.get_world_size(), torch.device("cpu"), group=group)
    schedule = ScheduleGPipe(stage, n_microbatches=2, loss_fn=loss)
    if rank == 0:
        schedule.step(x)
    else:
        schedule.step(target=y, losses=losses)
        alone = [loss(whole(part), of) for part, of in zip(x.chunk(2), y.chunk(2))]
        sum(alone).backward()
        print("RESULT", *losses, *alone, mine[0].bias.grad.item(), whole[2].bias.grad.item() / 2)
    dist.destroy_process_group()
"""
TF_LOOP = """
    import json, os
    import tensorflow as tf

    workers = len(json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"])
    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    def dataset(context):
        x = tf.data.Dataset.from_tensor_slices([1.0, 2.0, 3.0, 4.0])
        mine = x.shard(context.num_input_pipelines, context.input_pipeline_id)
        return mine.batch(context.get_per_replica_batch_size(4)).repeat()

    with strategy.scope():
        weight = tf.Variable(0.0)
        data = strategy.distribute_datasets_from_function(dataset)
        optimizer = tf.keras.optimizers.SGD(0.1)
    checkpoint = tf.train.Checkpoint(weight=weight)

    @tf.function
    def train_step(iterator):
        def step(x):
            with tf.GradientTape() as tape:
                loss = tf.nn.compute_average_loss((weight * x - 2 * x) ** 2, global_batch_size=4)
            optimizer.apply_gradients([(tape.gradient(loss, weight), weight)])
            return loss
        losses = strategy.run(step, args=(next(iterator),))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    iterator = iter(data)
    losses = [train_step(iterator).numpy() for _ in range(3)]
    checkpoint.save(f"saved/{strategy.cluster_resolver.task_id}/ckpt")
    print("RESULT", *losses, flush=True)
"""
SPAWNS = """
    import torch
    from torch.utils.data import DataLoader

    def double(numbers):
        return 2 * torch.tensor(numbers)

    if __name__ == "__main__":
        loader = DataLoader(
            range(4), batch_size=2, num_workers=1, collate_fn=double,
            multiprocessing_context="spawn",
        )
        print("RESULT", [batch.tolist() for batch in loader])
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write programs into the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(text))
        return path

    return write


def results(text):
    return sorted(re.findall(r"RESULT (.*)", text))


def test_losses_and_environment_are_those_of_torchrun(write):
    write("data_of_mine.py", DATA)
    path = write("train.py", DDP)
    torchrun = Path(sys.executable).parent / "torchrun"
    done = subprocess.run(
        [torchrun, "--nproc_per_node", "2", path, "--lr", "0.05"],
        capture_output=True, text=True, timeout=200, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = lab.Cluster(2, threads=1).run_script("train.py", ["--lr", 0.05])
    assert results("".join(run.logs)) == results(done.stdout)
    assert len(results(done.stdout)) == 2
    assert run.values == [None, None]


def test_a_program_is_modelled_as_a_function_is(write):
    write("data_of_mine.py", DATA)
    write("train.py", DDP)
    traces = [
        lab.Cluster(2, hardware="dgx-a100").run_script("train.py", ["--lr", "0.05"]).trace
        for _ in range(2)
    ]
    assert traces[0].clock == "modelled"
    assert [e for e in traces[0]] == [e for e in traces[1]]
    assert traces[0].of(name="all_reduce")


def test_a_program_for_tf_config(write):
    path = write("train.py", KERAS)
    assert script.framework_of(script.script(path)) == "tensorflow"
    run = lab.Cluster(2, framework="tensorflow").run_script(path)
    assert results("".join(run.logs)) == ["4.0 2", "4.0 2"]


def test_a_program_with_a_pipeline_has_the_losses_of_one_process(write):
    write("train.py", PIPELINE)
    (said,) = results("".join(lab.Cluster(2).run_script("train.py").logs))
    numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", said)]
    assert len(numbers) == 6 and len(set(numbers[:2])) == 2
    assert numbers[:2] == pytest.approx(numbers[2:4], abs=1e-4)
    assert numbers[4] == pytest.approx(numbers[5], abs=1e-4)


def test_a_custom_loop_of_tensorflow_has_the_losses_of_one_process(write, tmp_path):
    path = write("train.py", TF_LOOP)
    run = lab.Cluster(2, framework="tensorflow").run_script(path)
    weight, expected = 0.0, []
    for _ in range(3):  # mean((w x - 2 x)^2) over x = 1 to 4 is 7.5 (w - 2)^2
        expected.append(7.5 * (weight - 2) ** 2)
        weight -= 0.1 * 15 * (weight - 2)
    by_rank = [list(map(float, said.split())) for said in results("".join(run.logs))]
    assert by_rank == [pytest.approx(expected, rel=1e-5)] * 2
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["0", "1"]


def test_what_a_program_finds_is_as_under_python(write):
    path = write(
        "deep/program.py",
        """
        import os, sys, pickle
        class Mine: pass
        print("RESULT", __name__, sys.argv[1:], sys.path[0] == os.path.dirname(__file__),
              os.getcwd() != sys.path[0], type(pickle.loads(pickle.dumps(Mine()))) is Mine)
        sys.exit(0)
        """,
    )
    run = lab.Cluster(1).run_script(path, ["--n", 3])
    assert results(run.logs[0]) == ["__main__ ['--n', '3'] True True True"]


def test_processes_that_a_program_spawns_find_its_functions(write):
    run = lab.Cluster(1).run_script(write("loads.py", SPAWNS))
    assert results(run.logs[0]) == ["[[0, 2], [4, 6]]"]


def test_a_module_may_import_its_neighbours(write):
    write("mine/__init__.py", "")
    write("mine/name.py", "name = 'found'")
    write("mine/train.py", "from .name import name\nprint('RESULT', name, __name__)")
    run = lab.Cluster(1).run_script("mine.train", module=True)
    assert results(run.logs[0]) == ["found __main__"]


@pytest.mark.parametrize(
    "text, said",
    [
        ("import sys\nsys.exit(3)", ["called sys.exit(3)", "train.py, line 2"]),
        ("x = 1\nx.gone()", ["raised AttributeError", "train.py, line 2: x.gone()"]),
    ],
)
def test_an_error_names_the_rank_and_the_programs_line(write, text, said):
    with pytest.raises(lab.RankFailed) as caught:
        lab.Cluster(2).run_script(write("train.py", text))
    for words in ["rank", *said]:
        assert words in str(caught.value)


def test_a_program_that_hangs_is_explained(write):
    text = """
    import os, torch.distributed as dist
    dist.init_process_group("gloo")
    if os.environ["RANK"] == "0":
        dist.barrier()
    """
    with pytest.raises(lab.ClusterHangs) as caught:
        lab.Cluster(2).run_script(write("train.py", text))
    assert "train.py, line 5" in str(caught.value)


@pytest.mark.parametrize(
    "name, module, said",
    [
        ("gone.py", False, "No such file"),
        (".", False, "directory"),
        ("wrong.py", False, "line 1"),
        ("gone.train", True, "no such module"),
    ],
)
def test_what_cannot_be_run_is_said_before_any_rank_starts(write, name, module, said):
    write("wrong.py", "def (:")
    with pytest.raises(LabError, match=said):
        script.script(name, module=module)


def test_the_command_passes_arguments_on_and_writes_trace_and_timeline(write, capsys):
    write("data_of_mine.py", DATA)
    write("train.py", DDP)
    asked = ["run", "train.py", "--ranks", "2", "--hardware", "dgx-a100", "--out", "result"]
    assert cli.main([*asked, "--", "--lr", "0.5"]) == 0
    shown = capsys.readouterr().out
    assert "[rank 0] RESULT 0 0 2 0 0 2 0.5" in shown and "modelled on dgx-a100" in shown
    assert len(lab.Trace.load("result/trace.json.gz")) > 10
    assert Path("result/timeline.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "text, status", [("import sys; sys.exit(3)", 1), ("pass", 0), ("def (:", 2)]
)
def test_the_exit_status_says_how_it_went(write, capsys, text, status):
    assert cli.main(["run", str(write("train.py", text))]) == status
