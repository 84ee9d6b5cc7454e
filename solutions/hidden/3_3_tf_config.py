"""3.3, hidden from learners: other cases, other right answers, wrong answers."""

import json
import os

from lablib.teach.exercise import find

written = find("3.3").module.written


def cases(seed):
    return [written(seed, [3, 1, 2])]


def count_those_before(nodes, node, local):
    workers = [address for addresses in nodes for address in addresses]
    index = sum(len(addresses) for addresses in nodes[:node]) + local
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


def look_oneself_up(nodes, node, local):
    config = {"task": {"type": "worker"}, "cluster": {"worker": sum(nodes, [])}}
    config["task"]["index"] = config["cluster"]["worker"].index(nodes[node][local])
    return json.dumps(config, indent=2)


def wrong_config(workers, index):
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


RIGHT = [count_those_before, look_oneself_up]
WRONG = {
    "a dictionary": lambda *args: json.loads(count_those_before(*args)),
    "a list of lists": lambda nodes, node, local: wrong_config(nodes, node * 2 + local),
    "the index within the node": lambda nodes, node, local: wrong_config(sum(nodes, []), local),
    "two workers on every node": lambda nodes, node, local: wrong_config(
        sum(nodes, []), 2 * node + local
    ),
    "only its own node": lambda nodes, node, local: wrong_config(nodes[node], local),
    "what the kit has set": lambda nodes, node, local: os.environ.get("TF_CONFIG", ""),
}
