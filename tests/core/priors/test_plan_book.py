"""Plans are kept, but not without end."""

from loopllm.priors.beliefs import Believer, Scopes
from loopllm.priors.plan_book import PlanBook
from loopllm.priors.planning import PlanRequest
from loopllm.priors.statistics import Statistics
from loopllm.shipped_prior import shipped_arithmetic

NOTHING = Scopes("", *(Statistics() for _ in range(4)))


def asked(threshold):
    return PlanRequest("t", "m", quality_threshold=threshold, max_iterations=2)


def test_the_plan_that_was_not_asked_for_longest_makes_room_for_a_new_one():
    book = PlanBook(lambda: Believer(shipped_arithmetic(), 400.0), 400.0, room=2)
    first, second = (book.prepared(asked(threshold), NOTHING) for threshold in (0.5, 0.6))
    assert book.prepared(asked(0.5), NOTHING) is first
    third = book.prepared(asked(0.7), NOTHING)
    assert book.find(asked(0.6), NOTHING) is None
    assert book.find(asked(0.5), NOTHING) is first
    assert book.find(asked(0.7), NOTHING) is third
    assert book.prepared(asked(0.6), NOTHING) is not second
