"""What all tests share: how properties are searched, and how a time limit is checked on a machine that is busy."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from hypothesis import settings

# How long an example takes says more about the machine than about the code. In CI the examples stay the same.
settings.register_profile(
    "loopllm", settings.get_profile("ci" if os.environ.get("CI") else "default"), deadline=None
)
settings.load_profile("loopllm")

Attempts = Callable[[float], Iterator[AbstractContextManager[None]]]
TRIES = 5


@pytest.fixture
def within() -> Attempts:
    """Check that a block can be done in so many seconds: `for attempt in within(0.5): with attempt: ...`.

    Other work on the machine only ever makes it slower, so the quickest of a few attempts counts.
    """

    def attempts(seconds: float) -> Iterator[AbstractContextManager[None]]:
        took: list[float] = []

        @contextmanager
        def attempt() -> Iterator[None]:
            began = time.perf_counter()
            yield
            took.append(time.perf_counter() - began)

        while not took or took[-1] >= seconds:
            assert len(took) < TRIES, f"took {min(took):.2f} s at best, and {seconds} s are allowed"
            yield attempt()

    return attempts
