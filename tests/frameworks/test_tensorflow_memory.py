"""Bytes of tensors of a TensorFlow rank: live tensors are counted, and views count once.

The bytes in graphs are compared with TensorFlow's own allocator, which rounds up.
"""

from __future__ import annotations

from functools import cache

import pytest
from alone import in_the_usual_order, printed_by


@cache
def said(attempt):
    return printed_by("frameworks/held_in_tensorflow.py")


@pytest.fixture
def found():
    return said(0)


@pytest.mark.parametrize("how", ["graph", "eager"])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("task", ["wide-mlp", "digits-cnn", "bytes-gpt"])
def test_a_step_holds_what_the_allocator_gives_out(task, optimizer, how):
    def apart(attempt):
        counted, given_out = said(attempt)[f"{task}, {optimizer}, {how}"]
        near = counted == pytest.approx(given_out, rel=0.15)  # the allocator rounds up
        return None if near else (counted, given_out)

    assert in_the_usual_order(apart) is None


@pytest.mark.parametrize(
    "case, kilobytes",
    [
        ("views", 1),
        ("a_view_outlives_its_tensor", 1),
        ("read_twice", 1),
        ("read_before_a_change", 2),
        ("read_before_a_graph_changes_it", 2),
        ("from_a_graph", 2),
        ("used_without_being_read", 2),
        ("given_back_by_a_graph", 2),
        ("read_and_changed_by_a_graph", 2),
        ("of_unknown_shape", 1),
        ("made_by_a_bare_operation", 1),
    ],
)
def test_memory_counts_once_for_as_long_as_anybody_holds_it(found, case, kilobytes):
    assert found[case] == pytest.approx(kilobytes, abs=0.1)


def test_a_graph_lets_go_of_what_nobody_needs_any_more(found):
    assert found["one_after_another"] == 3  # the argument, a product and the next
    assert found["all_at_once"] == 7  # the argument, five products and a sum of two more


def test_what_a_called_function_gives_back_is_there_once(found):
    # The argument, and the product whose memory becomes the sum's: neither is counted again.
    assert found["of_what_is_given_back"] == pytest.approx(2, abs=0.01)


def test_what_a_gradient_needs_of_a_function_is_no_part_of_a_plain_call(found):
    assert found["layer_alone"] == 3  # the argument, and the two factors of a GELU
    assert found["gradient_of_a_layer"] > found["layer_alone"]


def test_what_waits_for_one_of_our_clocks_counts_too(found):
    assert found["after_a_clock"] == pytest.approx(2, abs=0.01)  # the argument and the product
