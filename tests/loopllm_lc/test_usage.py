"""Usage is summed whatever providers put into it (T20)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from loopllm.results import Usage
from loopllm_lc.usage import sum_usage, usage_of

_counts = st.one_of(
    st.none(), st.integers(0, 1000), st.text(max_size=2), st.just(float("nan")), st.booleans()
)
_details = st.dictionaries(st.sampled_from(["reasoning", "cache_read"]), _counts, max_size=2)
_usages = st.fixed_dictionaries(
    {
        "input_tokens": st.integers(0, 1000),
        "output_tokens": st.integers(0, 1000),
        "total_tokens": st.integers(0, 2000),
    },
    optional={"total_cost": _counts, "input_token_details": st.one_of(st.none(), _details)},
)


@given(st.lists(st.one_of(st.none(), _usages), max_size=5))
def test_any_usage_can_be_summed_and_known_counts_add_up(usages: Any) -> None:
    """T20: langchain's own adder raises on floats and None."""
    total: Any = sum_usage(usages)
    known = [each for each in usages if each]
    if not known:
        assert total is None
        return
    for name in ("input_tokens", "output_tokens", "total_tokens"):
        assert total[name] == sum(each[name] for each in known)


def test_details_are_summed_part_by_part() -> None:
    one = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "output_token_details": {"reasoning": 4}}
    two = {**one, "output_token_details": {"reasoning": None, "audio": 2}}
    total: Any = sum_usage([one, two])
    assert total["output_token_details"] == {"reasoning": 4, "audio": 2}


def test_summing_leaves_the_parts_alone() -> None:
    details = {"reasoning": 4}
    one = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "output_token_details": details}
    sum_usage([one, one])
    assert details == {"reasoning": 4}


def test_a_message_without_usage_says_nothing_rather_than_zero() -> None:
    assert usage_of(AIMessage("hi")) == Usage()
    assert usage_of("hi") == Usage()


def test_the_cost_a_provider_states_is_kept() -> None:
    said = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "total_cost": 0.25}
    message = AIMessage("hi").model_copy(update={"usage_metadata": said})
    assert usage_of(message) == Usage(1, 2, 0.25)
