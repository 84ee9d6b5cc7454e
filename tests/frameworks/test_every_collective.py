"""Every function and operation of a framework that sends messages is recorded or refused.

The test lists everything that the installed version offers, so a new version with more functions
fails here. On a rank of such a version, the kit refuses an unknown function when it is called.
"""

from __future__ import annotations

import importlib
from functools import cache, partial

import pytest

import lablib as lab

# Public functions of torch.distributed that send nothing, or only while groups are made.
SILENT_IN_TORCH = set(
    """
    breakpoint destroy_process_group get_backend get_backend_config get_default_backend_for_device
    get_global_rank get_group_rank get_node_local_rank get_pg_count get_process_group_ranks get_rank
    get_world_size init_device_mesh init_process_group is_available is_backend_available
    is_gloo_available is_initialized is_mpi_available is_nccl_available is_torchelastic_launched
    is_ucc_available is_xccl_available new_group new_subgroups new_subgroups_by_enumeration
    record_comm register_rendezvous_handler rendezvous supports_complex
    _c10d_functional::wait_tensor _c10d_functional::_wrap_tensor_autograd
""".split()
)
# Operations that may call a function which communicates, and are marked as such.
SILENT_IN_TENSORFLOW = {"Batch", "BatchFunction", "StatefulPartitionedCall"}
CANNOT = "cannot be used on the ranks of a cluster"


def gaps(offered: list[str], seen: dict[str, list[str]], silent: set[str]) -> set[str]:
    """Return the offered names that send messages but have left no record."""
    return {name for name in offered if not seen.get(name)} - silent


def test_a_gap_is_found():
    seen = {"all_reduce": ["all_reduce"], "gather_single": []}
    offered = ["all_reduce", "gather_single", "gather_into_tensor", "get_rank"]
    assert gaps(offered, seen, {"get_rank"}) == {"gather_single", "gather_into_tensor"}


def ask(me, framework):
    """Return the results of the jobs of one framework, by name. The last job adds a function."""
    jobs = importlib.import_module(f"collectives_of_{framework}")
    names = "everything", "tables", "messages_of_each", "refusals", "later_version"
    return {name: getattr(jobs, name)(me) for name in names}


@cache
def ranks(framework):
    cluster = lab.Cluster(2, framework=framework, timeout_s=100)
    return cluster.run(partial(ask, framework=framework)).values


def answers(framework, name):
    return [of_a_rank[name] for of_a_rank in ranks(framework)]


def test_all_functions_and_operations_of_torch_are_recorded_or_refused():
    offered = answers("torch", "everything")[0]
    silent = SILENT_IN_TORCH | set(answers("torch", "refusals")[0])
    for seen in answers("torch", "messages_of_each"):
        assert gaps(offered["functions"] + offered["operations"], seen, silent) == set()


def test_all_methods_of_a_process_group_are_listed():
    offered, known = answers("torch", "everything")[0], answers("torch", "tables")[0]
    assert set(offered["methods"]) == set(known)


def test_other_operations_of_torch_need_a_group_or_a_gpu():
    """Other operations take a group or use symmetric memory.

    The kit refuses the method `boxed` of groups, and symmetric memory.
    """
    offered = answers("torch", "everything")[0]
    assert offered["without a group"] == ["c10d::check_for_nan"]
    assert offered["on a CPU"] == ["symm_mem::_barrier", "symm_mem::_rendezvous"]


def test_all_functions_and_operations_of_tensorflow_are_recorded_or_refused():
    offered = answers("tensorflow", "everything")[0]
    refused = set(answers("tensorflow", "refusals")[0])
    silent = SILENT_IN_TENSORFLOW | set(answers("tensorflow", "tables")[0]) | refused
    for seen in answers("tensorflow", "messages_of_each"):
        assert gaps(offered["functions"] + offered["operations"], seen, silent) == set()


def test_a_collective_of_tensorflow_is_recorded_outside_of_graphs_and_inside():
    for seen in answers("tensorflow", "messages_of_each"):
        counts = {name: len(messages) for name, messages in seen.items()}
        assert counts.pop("CollectiveReduceScatterV2") == 1  # its graph fails on a CPU
        assert set(counts.values()) == {2}


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_what_would_pass_the_recorder_by_is_refused(framework):
    for refused in answers(framework, "refusals"):
        assert {name for name, told in refused.items() if f"{name} {CANNOT}" not in told} == set()


@pytest.mark.parametrize(
    "framework, function", [("torch", "gather_single"), ("tensorflow", "all_gather_v3")]
)
def test_what_only_a_later_version_has_is_refused_with_both_versions(framework, function):
    for told in answers(framework, "later_version"):
        assert f"{function} {CANNOT}" in told
        assert f"saw: {framework} 2." in told and "the kit was tested with 2." in told
        assert f"pip install {framework}==" in told
