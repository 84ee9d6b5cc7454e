"""4.7 Find the smallest cluster that holds a model: stages times tensor-parallel ranks."""

from lablib.teach.claims import Claim, equal, show, whole_numbers
from lablib.teach.exercise import Case

ANSWERS = (
    "rank_bytes(model, pipeline, tensor)",
    "smallest_cluster(model, memory_bytes, per_node)",
)
TITLE = "The smallest cluster that holds it"
POINTS = 4
LEDGER, SMALLEST = 0, 1
# Bytes of each parameter under mixed precision with Adam: 2 weight, 2 gradient, 4 copy of the
# weight, 4 momentum, 4 variance (Rajbhandari et al. 2020, ZeRO).
STATE = 16

# Table 2.1 of Brown et al. 2020, Language models are few-shot learners.
GPT3 = dict(layers=96, width=12288, heads=96, tokens=2048, micro_batch=1)
GPT3_6B = dict(layers=32, width=4096, heads=32, tokens=2048, micro_batch=1)
GB = 1e9

_STATE = (
    "A layer has 12 width² parameters, and each costs 16 bytes. How many are on one rank?",
    "A rank holds layers / pipeline of the layers, and 1 / tensor of each of these.",
)
_ACTIVATIONS = (
    "How many micro-batches does the first stage keep under 1F1B, and of how many layers?",
    "p micro-batches of layers / p layers each. Only two of the three terms shrink with tensor.",
)
_FITS = (
    "Is there a pair that has fewer ranks and still fits? Try all pairs that are allowed.",
    "pipeline divides layers; tensor divides heads and is at most per_node. Take the smallest "
    "pipeline x tensor. If several are equal, take the smallest tensor: it sends less.",
)
_NONE = ("What do you return when no pair fits? It should be None.",)


def cases(seed):
    return [
        ledger("a model of 6.4 billion parameters", GPT3_6B, [(1, 1), (4, 1), (1, 8), (8, 2)]),
        smallest("6.4 billion parameters, devices of 80 GB, 8 a node", GPT3_6B, 80 * GB, 8),
        smallest("174 billion parameters, devices of 80 GB, 8 a node", GPT3, 80 * GB, 8),
        smallest("174 billion parameters, devices of 16 GB, one a node", GPT3, 16 * GB, 1),
    ]


def ledger(name, model, pairs):
    return Case(f"the ledger of {name}", {"model": model, "pairs": [list(p) for p in pairs]},
                answer=LEDGER)  # fmt: skip


def smallest(name, model, memory_bytes, per_node):
    given = {"model": model, "memory_bytes": memory_bytes, "per_node": per_node}
    return Case(name, given, answer=SMALLEST)


def observe(me, answer, given):
    if hasattr(given, "pairs"):
        return [answer(dict(given.model), *pair) for pair in given.pairs]
    return answer(dict(given.model), given.memory_bytes, given.per_node)


def judge(case, seen):
    of, value = case.shared, seen.values[0]
    if case.answer == LEDGER:
        return judge_ledger(of["model"], of["pairs"], value)
    return judge_smallest(of["model"], of["memory_bytes"], of["per_node"], value)


def judge_ledger(model, pairs, value):
    for (pipeline, tensor), got in zip(pairs, value, strict=True):
        text = f"bytes of the fullest rank with pipeline={pipeline}, tensor={tensor}"
        hints = _STATE if pipeline == tensor == 1 else _ACTIVATIONS
        yield equal(text, held_bytes(model, pipeline, tensor), got, hints=hints, rtol=1e-6)


def judge_smallest(model, memory_bytes, per_node, value):
    best = best_pair(model, memory_bytes, per_node)
    if best is None:
        yield Claim("no cluster holds the model, so the answer is None", value is None, "None",
                    show(value), hints=_NONE)  # fmt: skip
        return
    pair = tuple(whole_numbers(value) or ())
    allowed = pair in every_pair(model, per_node)
    yield Claim("a pair (pipeline, tensor) by which the model can be cut", allowed,
                f"two whole numbers: the first divides {model['layers']}, the second divides "
                f"{model['heads']} and is at most {per_node}", show(value),
                hints=_FITS)  # fmt: skip
    fits = allowed and held_bytes(model, *pair) <= memory_bytes
    held = f"{held_bytes(model, *pair) / GB:.1f} GB" if allowed else show(value)
    yield Claim("its fullest rank fits", fits, f"at most {memory_bytes / GB:g} GB", held,
                hints=_ACTIVATIONS)  # fmt: skip
    yield Claim("no smaller cluster fits; of equal ones it has the smallest tensor", pair == best,
                "fewer ranks, or as many with a smaller tensor" if fits else "a pair that fits",
                show(value), hints=_FITS, weight=2)  # fmt: skip


def held_bytes(model, pipeline, tensor):
    """Return the bytes that a rank of the first stage holds; no stage holds more.

    The stage keeps its share of the state and `pipeline` micro-batches of its layers (Korthikanti
    et al. 2022, equation 2).
    """
    samples, tokens, width = model["micro_batch"], model["tokens"], model["width"]
    layers = model["layers"] / pipeline
    state = STATE * 12 * width**2 * layers / tensor
    scores = 5 * model["heads"] * tokens / width
    layer = samples * tokens * width * (10 + (24 + scores) / tensor)
    return state + pipeline * layers * layer


def every_pair(model, per_node):
    return [
        (pipeline, tensor)
        for pipeline in range(1, model["layers"] + 1)
        for tensor in range(1, per_node + 1)
        if model["layers"] % pipeline == 0 and model["heads"] % tensor == 0
    ]


def best_pair(model, memory_bytes, per_node):
    fitting = [p for p in every_pair(model, per_node) if held_bytes(model, *p) <= memory_bytes]
    return min(fitting, key=lambda p: (p[0] * p[1], p[1]), default=None)
