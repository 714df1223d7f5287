"""A decision as a sentence: what was expected, at what cost, from how many runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loopllm.priors.policy import Decision


def explain(decision: Decision) -> str:
    """The reason for a decision as a sentence.

    The gain and its interval are those of the very next call, in the unit of the value; what calls after it may bring
    is told apart, where it is what makes going on worth it. The way of asking is named where there is a choice.
    """
    gain = f"{decision.expected_gain:z.3f}"
    return (
        f"{_verb(decision)}: another call{_asked(decision)} is expected to gain {gain} "
        f"(80 % interval {_around(gain, *decision.interval)}), {_costs(decision)}{_beyond(decision)}"
        f"{_unlikely(decision)}; {decision.evidence}"
    )


def _around(gain: str, low: float, high: float) -> str:
    """The interval to a hundredth, or as finely as the gain where it would else not hold it.

    >>> _around("0.012", 0.0013, 0.0498), _around("0.004", 0.0031, 0.0049)
    ('0.00 to 0.05', '0.003 to 0.005')
    """
    rough = f"{low:z.2f}", f"{high:z.2f}"
    holds = float(rough[0]) <= float(gain) <= float(rough[1])
    return " to ".join(rough) if holds else f"{low:z.3f} to {high:z.3f}"


def _verb(decision: Decision) -> str:
    if not decision.policy.acts:
        would = "gone on" if decision.advised else "stopped"
        return f"goes on, as the priors only observe; acting would have {would}"
    if decision.stop:
        return "stopped"
    return "goes on in order to learn" if decision.explores else "goes on"


def _costs(decision: Decision) -> str:
    return decision.policy.costs.phrase(decision.expected_gain, decision.way, decision.depth + 1)


def _asked(decision: Decision) -> str:
    return f", asked for with {decision.way!r}," if len(decision.policy.ways) > 1 else ""


def _beyond(decision: Decision) -> str:
    """What makes going on worth it, where the next call alone would not."""
    if decision.policy.is_spent(decision.depth):
        return (
            f", and all {decision.depth} calls are made"
            if decision.depth > 1
            else ", and the only call is made"
        )
    if decision.advised is None or decision.expected_gain > decision.call_cost:
        return ""
    return f", and with the calls that may follow is worth {decision.advantage:.3f} more than stopping"


def _unlikely(decision: Decision) -> str:
    least = decision.policy.least_probability
    chance = decision.probability_of_improvement
    if not decision.stop or chance >= least:
        return ""
    return f", and improves the score with a probability of {chance:.2f}, below the {least:g} asked for"
