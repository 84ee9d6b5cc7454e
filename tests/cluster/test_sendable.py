"""Values that a rank returns or logs arrive, or an error says why not and what to do."""

from __future__ import annotations

import jobs
import numpy as np
import pytest

import lablib as lab

BOTH = ("torch", "tensorflow")
ARRIVE = {
    "torch": {
        "bfloat16": [1.0, 1.5], "float8": [1.0, 1.5], "conjugate": [1 - 1j], "complex32": [1 + 1j],
        "a subclass": [1.0, 1.5], "a parameter": [1.0, 1.5], "async": [2.0], "a size": (1, 2),
    },
    "tensorflow": {
        "bfloat16": [1.0, 1.5], "a bfloat16 variable": [1.0, 1.5], "a Keras variable": [1.0, 1.5],
        "of NumPy": [1.0, 1.5],
    },
}  # fmt: skip
ARE_REFUSED = {
    "torch": {
        "sparse": "use x.to_dense()", "csr": "use x.to_dense()", "meta": "use list(x.shape)",
        "quantised": "use x.dequantize()", "nested": "use list(x.unbind())",
        "a dtype": "use str(x)",
        "DTensor": "use x.full_tensor(), called on every rank", "fake": "use list(x.shape)",
        "a model": "use model.state_dict()", "a frame": "use frame.to_dict('list')",
        "masked": "use x.filled(0)", "a date": "use x.isoformat()", "a path": "use str(x)",
        "a dataclass": "use dataclasses.asdict(x)", "a class": "use its name",
        "objects": "use x.tolist()", "a set in a list": "use x.to_dense()",
    },
    "tensorflow": {
        "ragged": "use x.to_list()", "sparse": "use tf.sparse.to_dense(x)",
        "slices": "use tf.convert_to_tensor(x)", "texts": "use x.numpy().tolist()",
        "symbolic": "it has a shape but no values", "a shape": "use x.as_list()",
        "a dtype": "use x.name", "a model": "use model.get_weights()",
        "a dataset": "use list(x.as_numpy_iterator())",
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=BOTH)
def sent(request):
    """Return the result of sending each value, by name: ("value", value) or ("refused", why)."""
    values = {"torch": jobs.values_of_torch, "tensorflow": jobs.values_of_tensorflow}
    run = lab.Cluster(1, framework=request.param).run(values[request.param])
    return request.param, run.values[0]


def test_values_that_numpy_can_hold_arrive(sent):
    framework, found = sent
    for name, value in ARRIVE[framework].items():
        assert found[name][0] == "value", found[name]
        np.testing.assert_array_equal(found[name][1], value)


def test_values_that_cannot_be_sent_say_what_to_do(sent):
    framework, found = sent
    for name, cure in ARE_REFUSED[framework].items():
        kind, why = found[name]
        assert kind == "refused", name
        assert "cannot be sent to the notebook: " in why and cure in why, (name, why)


@pytest.mark.parametrize("job", [jobs.returns_a_sparse_tensor, jobs.logs_a_sparse_tensor])
def test_the_error_names_the_learners_line(job):
    with pytest.raises(lab.RankFailed, match=r"use x.to_dense\(\)") as caught:
        lab.Cluster(1).run(job)
    assert "jobs.py, line" in caught.value.saw


def test_an_error_below_compiled_code_names_the_learners_line():
    with pytest.raises(lab.RankFailed) as caught:
        lab.Cluster(1).run(jobs.asks_numpy_for_too_many)
    assert caught.value.saw.startswith("jobs.py, line")


@pytest.mark.parametrize(
    "job", [jobs.asks_for_input, jobs.reads_bytes_from_the_keyboard, jobs.reads_a_line_of_bytes,
            jobs.calls_breakpoint, jobs.calls_pdb, jobs.calls_interact],
    ids=lambda job: job.__name__,
)  # fmt: skip
def test_a_rank_has_no_keyboard_and_says_so_at_the_line(job):
    with pytest.raises(lab.RankFailed, match="A rank cannot read from the keyboard") as caught:
        lab.Cluster(1).run(job)
    assert "# here" in caught.value.saw.splitlines()[0]


@pytest.mark.parametrize("hardware, noted", [(None, False), ("dgx-a100", True)])
def test_a_clock_that_is_read_on_modelled_hardware_is_noted_once(hardware, noted, capsys):
    lab.Cluster(2, hardware=hardware).run(jobs.reads_the_clock)
    printed = capsys.readouterr().out
    assert printed.count("reads this computer's clock") == noted
    assert ("time.perf_counter (jobs.py, line" in printed) == noted


def test_a_run_that_reads_no_clock_notes_nothing(capsys):
    lab.Cluster(2, hardware="dgx-a100").run(jobs.total)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "job, clock",
    [
        (jobs.reads_the_clock_of_timeit, "timeit.default_timer"),
        (jobs.times_with_timeit, "timeit.timeit"),
        (jobs.reads_the_time_of_its_processor, "time.process_time"),
        (jobs.reads_the_date, "datetime.now"),
        (jobs.reads_the_date_in_a_helper, "datetime.utcnow"),
    ],
)
def test_so_are_the_other_clocks_of_pythons_library(job, clock, capsys):
    assert lab.Cluster(1, hardware="dgx-a100").run(job).values == [True]
    assert f"Note: {clock} (jobs.py, line" in capsys.readouterr().out
