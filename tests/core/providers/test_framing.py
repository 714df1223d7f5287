from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.errors import ProviderError
from loopllm.providers import framing
from loopllm.providers.framing import EventDecoder, LineSplitter


def in_pieces(content: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(content) + 1) for cut in cuts), len(content)]
    return [content[start:end] for start, end in pairwise(edges)]


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))),
    st.lists(st.integers(0, 500)),
)
def test_lines_are_the_same_however_the_bytes_are_cut(lines: Any, cuts: Any) -> None:
    splitter = LineSplitter()
    content = "".join(line + "\n" for line in lines).encode()
    assert [line for piece in in_pieces(content, cuts) for line in splitter.feed(piece)] == lines
    assert splitter.flush() == []


def test_a_line_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_BYTES", 1000)
    splitter = LineSplitter()
    for _ in range(10):
        splitter.feed(b"x" * 100)
    with pytest.raises(ProviderError, match="longer"):
        splitter.feed(b"x")


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1), min_size=1
    )
)
def test_the_data_lines_of_an_event_are_joined(lines: Any) -> None:
    events = EventDecoder()
    assert [events.feed(f"data: {line}") for line in lines] == [None] * len(lines)
    assert events.feed("id: 7") is None
    assert events.feed("") == "\n".join(lines)
    assert events.feed("") is None
