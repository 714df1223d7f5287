"""The embedded real model as a judge: what it says of the same draft varies, and the repeats are learned."""

import re
from typing import Any

import pytest

from loopllm import AdaptivePriors, LoopConfig, LoopedLLM
from loopllm.evaluators import measure_judge
from loopllm.priors.judge_spread import JudgeSpread
from loopllm.providers.local import LocalProvider

pytestmark = pytest.mark.real_model


class ModelJudge:
    """Asks the model for a mark from 0 to 10; a reply without a number is no mark at all."""

    waits = True

    def __init__(self, provider: LocalProvider) -> None:
        self._provider = provider

    def evaluate(self, output: str, context: Any = None) -> float:
        question = f"Text: {output}\nMark this text for clarity from 0 to 10. Reply with one number.\nMark:"
        found = re.search(r"\d+", self._provider.complete(question).content)
        return min(10, int(found[0])) / 10 if found else 0.0


def test_the_repeats_of_a_real_judge_are_learned_and_used() -> None:
    model = LocalProvider(temperature=1.0, max_tokens=12)
    priors, judge = AdaptivePriors(), ModelJudge(model)
    loop = LoopedLLM(model, LoopConfig(judge_cost=0.01, max_iterations=1, timeout_ms=None), priors=priors)
    told = []
    for _ in range(5):
        record = loop.refine("Explain tides in one line.", judge, task_type="lines").iterations[0]
        told.append([each.score for each in record.judgements])
    spread = priors.judge_spread("lines", str(model.model_id))
    assert spread == JudgeSpread.of(told)
    assert spread.repeats == 5
    assert spread.learned is not None
    pooled = spread + measure_judge(judge, ["The moon pulls the sea.", "sea sea sea"], times=2)
    assert pooled.repeats == 7
