"""The roles and places of ranks, and invalid arguments."""

from __future__ import annotations

import json

import pytest

import lablib as lab
from lablib.cluster.local import launch
from lablib.cluster.spec import Spec, threads_per_rank
from lablib.errors import LabError

WRONG = [
    (dict(ranks=0), "ranks=0"),
    (dict(ranks=-1), "ranks=-1"),
    (dict(ranks=2.5), "ranks=2.5"),
    (dict(ranks=True), "ranks=True"),
    (dict(ranks="4"), "ranks='4'"),
    (dict(ranks=2, framework="jax"), "framework='jax'"),
    (dict(ranks=2, device="tpu"), "device='tpu'"),
    (dict(ranks=4, nodes=3), "4 ranks on 3 nodes"),
    (dict(ranks=4, nodes=0), "nodes=0"),
    (dict(roles={"ps": 1}), "{'ps': 1}"),
    (dict(roles={"boss": 1, "worker": 1}), "boss"),
    (dict(roles={"worker": 1, "chief": 2}), "'chief': 2"),
    (dict(roles={"worker": -1}), "-1"),
    (dict(roles=["worker"]), "['worker']"),
    (dict(ranks=2, roles={"worker": 2}), "2 and roles"),
    (dict(ranks=2, threads=0), "threads=0"),
    (dict(ranks=2, timeout_s=0), "timeout_s=0"),
    (dict(ranks=2, timeout_s="long"), "'long'"),
]


@pytest.mark.parametrize("asked, seen", WRONG, ids=[seen for _, seen in WRONG])
def test_what_cannot_be_is_said_before_any_process_starts(asked, seen, monkeypatch):
    monkeypatch.setattr(launch, "zygote", lambda *_: pytest.fail("a process was started"))
    with pytest.raises(LabError) as caught:
        lab.Cluster(**asked)
    assert seen in caught.value.saw
    assert caught.value.do


def test_ranks_are_numbered_chief_worker_ps_evaluator():
    spec = Spec.of(roles={"ps": 1, "worker": 2, "evaluator": 1, "chief": 1})
    assert [(s.role, s.index) for s in spec.seats] == [
        ("chief", 0), ("worker", 0), ("worker", 1), ("ps", 0), ("evaluator", 0),
    ]  # fmt: skip


def test_tf_config_names_every_task_once_and_nodes_by_address():
    spec = Spec.of(4, nodes=2, framework="tensorflow")
    config = json.loads(spec.environment(spec.seats[3], [1, 2, 3, 4])["TF_CONFIG"])
    assert config == {
        "cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.2:3", "127.0.0.2:4"]},
        "task": {"type": "worker", "index": 3},
    }


def test_the_evaluator_stands_outside_the_cluster():
    spec = Spec.of(roles={"worker": 1, "evaluator": 1}, framework="tensorflow")
    config = json.loads(spec.environment(spec.seats[1], [1, 2])["TF_CONFIG"])
    assert config["cluster"] == {"worker": ["127.0.0.1:1"]}
    assert config["task"]["type"] == "evaluator"


def test_under_a_chief_with_parameter_servers_the_others_serve():
    spec = Spec.of(roles={"chief": 1, "worker": 1, "ps": 1}, framework="tensorflow")
    assert [spec.serves(seat) for seat in spec.seats] == [False, True, True]
    mirrored = Spec.of(roles={"chief": 1, "worker": 2}, framework="tensorflow")
    assert not any(map(mirrored.serves, mirrored.seats))


@pytest.mark.parametrize("cores, ranks, threads", [(8, 2, 4), (8, 3, 2), (2, 4, 1)])
def test_cores_are_shared_out(cores, ranks, threads):
    assert threads_per_rank(cores, ranks) == threads
