"""3.3 Write TF_CONFIG for workers on several nodes, and try it with real workers."""

import json

import numpy as np

from lablib.teach.claims import Claim, equal, equal_by_rank
from lablib.teach.exercise import Case

ANSWERS = ("tf_config(nodes, node, local)",)
TITLE = "TF_CONFIG"
POINTS = 3

_FORM = (
    "TF_CONFIG is one string in JSON. What does json.loads return for yours?",
    'json.dumps({"cluster": {"worker": ...}, "task": {...}})',
)
_CLUSTER = (
    "Look at rank 2's TF_CONFIG in the lab: how deeply is the list of addresses nested?",
    "Make one flat list of all workers, node after node. It is the same list for every worker.",
)
_TASK = (
    "The index is the position of the worker's own address in the flat list.",
    "Count the workers on all nodes before this one. Nodes may have different numbers of workers.",
)


def cases(seed):
    return [written(seed, [2, 2]), joined(seed + 1)]


def written(seed, workers):
    """Return a case that asks for the text of each worker, without starting a cluster."""
    rng = np.random.default_rng(seed)
    first = int(rng.integers(1, 200))
    nodes = [
        [f"10.0.{first}.{node}:{port}" for port in rng.permutation(range(2222, 2222 + count))]
        for node, count in enumerate(workers, start=first)
    ]
    told = " + ".join(map(str, workers))
    return Case(f"{len(workers)} nodes of {told} workers", shared={"nodes": nodes})


def joined(seed):
    """Return a case in which four workers use the text to find one another."""
    numbers = np.random.default_rng(seed).integers(1, 1000, size=4)
    own = tuple({"number": float(number)} for number in numbers)
    return Case("four real workers on 2 nodes", own=own, ranks=4, nodes=2, framework="tensorflow")


def observe(me, answer, given):
    if me.framework == "torch":
        return [[answer(given.nodes, node, local) for local in range(len(workers))]
                for node, workers in enumerate(given.nodes)]  # fmt: skip
    return join(me, answer, given.number)


def join(me, answer, number):
    """Return the sum of all workers' numbers, computed with the learner's TF_CONFIG."""
    import os

    import tensorflow as tf

    config = json.loads(os.environ.pop("TF_CONFIG"))  # so that no answer can copy it
    addresses, half = config["cluster"]["worker"], me.ranks // 2
    nodes = [addresses[:half], addresses[half:]]
    texts = [answer(nodes, *divmod(rank, half)) for rank in range(me.ranks)]
    if [parsed(text) for text in texts] != [
        config | {"task": {"type": "worker", "index": rank}} for rank in range(me.ranks)
    ]:
        # With a wrong text the workers would wait for one another, so every worker returns None.
        return None
    os.environ["TF_CONFIG"] = texts[me.rank]
    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    @tf.function
    def add_up():
        return tf.distribute.get_replica_context().all_reduce("SUM", tf.constant(number))

    return float(strategy.run(add_up))


def judge(case, seen):
    if case.framework == "tensorflow":
        total = sum(own["number"] for own in case.own)
        yield equal_by_rank("all workers find one another and compute the sum of their numbers",
                            [total] * case.ranks, seen.values, hints=_CLUSTER)  # fmt: skip
        return
    nodes = case.shared["nodes"]
    texts = [text for workers in seen.values[0] for text in workers]
    configs = [parsed(text) for text in texts]
    yield Claim("every worker gets a text in JSON", None not in configs,
                saw=repr(texts[0]), hints=_FORM)  # fmt: skip
    configs = [config or {} for config in configs]
    everyone = [address for workers in nodes for address in workers]
    yield equal("all workers have the same list of all workers",
                [{"worker": everyone}] * len(everyone),
                [config.get("cluster") for config in configs], hints=_CLUSTER)  # fmt: skip
    due = [{"type": "worker", "index": index} for index in range(len(everyone))]
    yield equal("each worker has its own index in the list", due,
                [config.get("task") for config in configs], hints=_TASK, weight=4)  # fmt: skip


def parsed(text):
    """Parse the text as a JSON object; return None if it is not a string or not a JSON object."""
    try:
        config = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return config if isinstance(config, dict) else None
