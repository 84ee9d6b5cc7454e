"""7.5, hidden from learners: other cases, other right answers, wrong answers."""

import numpy as np

from lablib.teach.exercise import find

case_of = find("7.5").module.case_of

SPENT = {
    (2.0, 0.3, 0.0001): (
        0.899, 1.157, 1.358, 1.529, 1.681, 1.821, 1.95, 2.072, 2.187, 2.297, 2.403, 2.504,
        2.602, 2.697, 2.789, 2.878, 2.966, 3.051, 3.134, 3.216, 3.295, 3.374, 3.451, 3.526, 3.6,
        3.673, 3.745, 3.816, 3.886, 3.955, 4.024, 4.09, 4.157, 4.222, 4.287, 4.352, 4.415,
        4.478, 4.54, 4.601, 4.662, 4.723, 4.783, 4.842, 4.901,
    ),
    (1.0, 0.15, 0.001): (
        1.463, 1.758, 1.977, 2.163, 2.326, 2.475, 2.614, 2.744, 2.867, 2.984, 3.098, 3.205,
        3.311, 3.411, 3.51, 3.606, 3.698, 3.791, 3.88, 3.966, 4.053, 4.139, 4.219, 4.3, 4.381,
        4.462, 4.538, 4.613, 4.689, 4.764, 4.84, 4.911, 4.982, 5.052, 5.123, 5.193, 5.264,
        5.332, 5.398, 5.464, 5.53, 5.596, 5.662, 5.728, 5.793,
    ),
}  # fmt: skip


def cases(seed):
    first, second = SPENT
    return [
        case_of(seed, first, clip=1.5, spent=SPENT),
        case_of(seed + 1, second, clip=0.3, exactly=True, spent=SPENT),
    ]


def drawn(rng, rules):
    return np.flatnonzero(rng.random(rules.records) < rules.sample_rate)


def clipped(g, clip):
    return g * np.minimum(1, clip / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-12))


def noise_of(rng, rules, shape):
    return rng.normal(0, rules.noise * rules.clip / np.sqrt(rules.hospitals), shape)


def in_arrays(weights, gradients, add_up, spent, rules):
    rng, steps = np.random.default_rng(), 0
    while spent(steps + 1) <= rules.budget:
        total = clipped(gradients(weights, drawn(rng, rules)), rules.clip).sum(0)
        total = add_up(total + noise_of(rng, rules, total.shape))
        weights = weights - rules.lr * total / (rules.sample_rate * rules.all_records)
        steps += 1
    return weights


def record_by_record_with_a_search(weights, gradients, add_up, spent, rules):
    """Finds the number of steps by bisection, then treats one record at a time."""
    import random

    low, high = 0, 1000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if spent(middle) <= rules.budget else (low, middle)
    draw = random.SystemRandom()
    size = rules.noise * rules.clip / rules.hospitals**0.5
    for _ in range(low):
        message = np.array([draw.gauss(0, size) for _ in weights])
        for row in range(rules.records):
            if draw.random() < rules.sample_rate:
                g = gradients(weights, [row])[0]
                norm = np.sqrt(g @ g)
                message += g if norm <= rules.clip else g * (rules.clip / norm)
        step = add_up(message) * rules.lr
        weights = weights - step / (rules.sample_rate * rules.all_records)
    return weights


def with_torch(weights, gradients, add_up, spent, rules):
    import torch

    device = torch.Generator()
    device.seed()
    w = torch.from_numpy(weights)
    for step in range(1, 10_000):
        if spent(step) > rules.budget:
            break
        mask = torch.rand(rules.records, generator=device) < rules.sample_rate
        g = torch.from_numpy(gradients(w.numpy(), mask.nonzero()[:, 0].numpy()))
        factors = (rules.clip / (g.norm(dim=1) + 1e-9)).clamp(max=1)
        spread = rules.noise * rules.clip * rules.hospitals**-0.5
        noise = spread * torch.randn(len(w), generator=device, dtype=w.dtype)
        total = torch.from_numpy(add_up((factors @ g + noise).numpy()))
        w = w - rules.lr / (rules.sample_rate * rules.all_records) * total
    return w.numpy()


def with_changes(clip=clipped, noise=noise_of, draw=drawn, generator=np.random.default_rng,
                 go_on=lambda spent, steps, rules: spent(steps + 1) <= rules.budget,
                 divide=lambda rules, rows: rules.sample_rate * rules.all_records):  # fmt: skip
    """Return the right answer with some of its parts replaced."""

    def answer(weights, gradients, add_up, spent, rules):
        rng, steps = generator(), 0
        while go_on(spent, steps, rules):
            rows = draw(rng, rules)
            total = clip(gradients(weights, rows), rules.clip).sum(0)
            total = add_up(total + noise(rng, rules, total.shape))
            weights = weights - rules.lr * total / divide(rules, rows)
            steps += 1
        return weights

    return answer


def clips_the_sum(g, clip):
    return clipped(g.sum(0, keepdims=True), clip)


def clips_each_number(g, clip):
    return np.clip(g, -clip, clip)


def stretches_short_ones(g, clip):
    return clip * g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-12)


def full_noise(rng, rules, shape):
    return rng.normal(0, rules.noise * rules.clip, shape)


def divided_by_hospitals(rng, rules, shape):
    return rng.normal(0, rules.noise * rules.clip / rules.hospitals, shape)


def forgets_clip(rng, rules, shape):
    return rng.normal(0, rules.noise / np.sqrt(rules.hospitals), shape)


def same_noise_in_each_step(rng, rules, shape):
    if not hasattr(rules, "kept"):
        rules.kept = noise_of(rng, rules, shape)
    return rules.kept


def same_noise_everywhere(weights, gradients, add_up, spent, rules):
    """The hospitals agree on the noise: rows from a private generator, noise from a common one."""
    common = np.random.default_rng(int(1000 * abs(weights[0])))
    return with_changes(noise=lambda rng, *rest: noise_of(common, *rest))(
        weights, gradients, add_up, spent, rules
    )


def fixed_batches(rng, rules):
    return rng.choice(rules.records, round(rules.records * rules.sample_rate), replace=False)


def twice(rng, rules):
    """Draws with replacement: a record may come twice in a step, and counts twice."""
    number = rng.binomial(rules.records, rules.sample_rate)
    return rng.integers(rules.records, size=number)


def sends_its_batch_size(weights, gradients, add_up, spent, rules):
    """Divides by the true batch size, which costs a second message."""
    rng, steps = np.random.default_rng(), 0
    while spent(steps + 1) <= rules.budget:
        rows = drawn(rng, rules)
        total = clipped(gradients(weights, rows), rules.clip).sum(0)
        total = add_up(total + noise_of(rng, rules, total.shape))
        batch = add_up(np.full(total.shape, float(len(rows))))
        weights = weights - rules.lr * total / np.maximum(batch, 1)
        steps += 1
    return weights


RIGHT = [in_arrays, record_by_record_with_a_search, with_torch]
WRONG = {
    "clips the sum": with_changes(clip=clips_the_sum),
    "clips each number": with_changes(clip=clips_each_number),
    "stretches short gradients": with_changes(clip=stretches_short_ones),
    "does not clip": with_changes(clip=lambda g, clip: g),
    "no noise": with_changes(noise=lambda rng, rules, shape: np.zeros(shape)),
    "full noise at each hospital": with_changes(noise=full_noise),
    "noise divided by hospitals": with_changes(noise=divided_by_hospitals),
    "noise without clip": with_changes(noise=forgets_clip),
    "a fixed seed": with_changes(generator=lambda: np.random.default_rng(0)),
    "the same noise in each step": with_changes(noise=same_noise_in_each_step),
    "the same noise everywhere": same_noise_everywhere,
    "batches of a fixed size": with_changes(draw=fixed_batches),
    "draws with replacement": with_changes(draw=twice),
    "one step too many": with_changes(
        go_on=lambda spent, steps, rules: spent(steps) <= rules.budget
    ),
    "stops early": with_changes(
        go_on=lambda spent, steps, rules: spent(steps + 1) < 0.9 * rules.budget
    ),
    "ignores the budget": with_changes(go_on=lambda spent, steps, rules: steps < 100),
    "divides by its own batch": with_changes(divide=lambda rules, rows: max(len(rows), 1)),
    "sends its batch size": sends_its_batch_size,
}
