"""4.7, hidden from learners: other cases, other right answers, wrong answers."""

from itertools import product

import numpy as np

from lablib.teach.exercise import find

_module = find("4.7").module
GPT2 = dict(layers=48, width=1600, heads=25, tokens=1024, micro_batch=4)


def cases(seed):
    rng = np.random.default_rng(seed)
    gpt2, gpt3_6b = _about(rng, GPT2), _about(rng, _module.GPT3_6B)
    return [
        _module.ledger("about GPT-2", gpt2, [(1, 1), (6, 1), (2, 5), (16, 5)]),
        _module.smallest("about GPT-2 on devices of 40 GB, 4 a node", gpt2, 40e9, 4),
        _module.smallest("about GPT-2 on devices of 80 GB", gpt2, 80e9, 8),
        _module.smallest("about 6 billion parameters, 24 GB, 8 a node", gpt3_6b, 24e9, 8),
        _module.smallest("about 6 billion parameters, 32 GB, 4 a node", gpt3_6b, 32e9, 4),
        _module.smallest("about 6 billion parameters, 16 GB, one a node", gpt3_6b, 16e9, 1),
    ]


def _about(rng, model):
    """Return a model that is up to 3 % wider or narrower, so that its bytes cannot be guessed."""
    heads = model["heads"]
    return model | {"width": heads * round(model["width"] / heads * rng.uniform(0.97, 1.03))}


def term_by_term(model, pipeline, tensor):
    width, held_layers = model["width"], model["layers"] // pipeline
    state = 16 * 12 * width**2 * held_layers / tensor
    numbers = model["micro_batch"] * model["tokens"] * width
    scores = 5 * model["heads"] * model["tokens"] / width
    kept = numbers * (10 + 24 / tensor + scores / tensor) * held_layers
    return state + pipeline * kept


def in_flight_cancels(model, pipeline, tensor):
    """Uses that p micro-batches of L / p layers are L layers for every p; only state shrinks."""
    layers, width, heads, tokens, samples = (
        model[name] for name in ("layers", "width", "heads", "tokens", "micro_batch")
    )
    of_layer = samples * tokens * (10 * width + (24 * width + 5 * heads * tokens) / tensor)
    return layers * (192 * width * width / (pipeline * tensor) + of_layer)


def _searching(ledger):
    def smallest(model, memory_bytes, per_node):
        found = None
        for tensor in range(1, per_node + 1):
            for pipeline in range(1, model["layers"] + 1):
                if model["layers"] % pipeline or model["heads"] % tensor:
                    continue
                fits = ledger(model, pipeline, tensor) <= memory_bytes
                if fits and (found is None or pipeline * tensor < found[0] * found[1]):
                    found = pipeline, tensor
        return found

    return smallest


def from_few_to_many(model, memory_bytes, per_node):
    """Sorts pairs by the number of ranks, then by tensor."""
    pairs = product(range(1, model["layers"] + 1), range(1, per_node + 1))
    for pipeline, tensor in sorted(pairs, key=lambda pair: (pair[0] * pair[1], pair[1])):
        cuts = model["layers"] % pipeline == 0 == model["heads"] % tensor
        if cuts and in_flight_cancels(model, pipeline, tensor) <= memory_bytes:
            return [pipeline, tensor]
    return None


def with_arrays(model, memory_bytes, per_node):
    stages, within = np.arange(1, model["layers"] + 1), np.arange(1, per_node + 1)
    stages, within = stages[model["layers"] % stages == 0], within[model["heads"] % within == 0]
    fitting = [(p * t, t, p) for p in stages for t in within
               if term_by_term(model, p, t) <= memory_bytes]  # fmt: skip
    return min(fitting)[:0:-1] if fitting else None


def weights_alone(model, pipeline, tensor):
    return 2 * 12 * model["width"] ** 2 * model["layers"] / pipeline / tensor


def state_alone(model, pipeline, tensor):
    return 8 * weights_alone(model, pipeline, tensor)


def one_micro_batch(model, pipeline, tensor):
    kept = term_by_term(model, pipeline, tensor) - state_alone(model, pipeline, tensor)
    return state_alone(model, pipeline, tensor) + kept / pipeline


def everything_shrinks(model, pipeline, tensor):
    return term_by_term(model, 1, 1) / pipeline / tensor


def tensor_first(model, memory_bytes, per_node):
    """Fills whole nodes before it adds a second stage: fewest stages instead of fewest ranks."""
    for pipeline in range(1, model["layers"] + 1):
        for tensor in range(per_node, 0, -1):
            cuts = model["layers"] % pipeline == 0 == model["heads"] % tensor
            if cuts and term_by_term(model, pipeline, tensor) <= memory_bytes:
                return pipeline, tensor
    return None


def stages_alone(model, memory_bytes, per_node):
    return _searching(term_by_term)(model, memory_bytes, 1)


def _hard_coded(model, memory_bytes, per_node):
    return {(32, 80e9): (1, 2), (96, 80e9): (16, 8)}.get((model["layers"], memory_bytes))


RIGHT = [(term_by_term, _searching(term_by_term)), (in_flight_cancels, from_few_to_many),
         (in_flight_cancels, with_arrays)]  # fmt: skip
WRONG = {
    "weights alone": (weights_alone, _searching(weights_alone)),
    "no activations": (state_alone, _searching(state_alone)),
    "one micro-batch under way": (one_micro_batch, _searching(one_micro_batch)),
    "everything shrinks with every rank": (everything_shrinks, _searching(everything_shrinks)),
    "whole nodes first": (term_by_term, tensor_first),
    "stages alone": (term_by_term, stages_alone),
    "hard-coded public results": (term_by_term, _hard_coded),
}
