"""What runs have taught and what to do with it: pure statistics and decisions, no I/O.

Start at `policy` (what to do next), then `planner` (why), `beliefs` (what is expected of a call), `statistics`
(what is kept), `run_state` (where a run stands).
"""

from loopllm.priors.objective import Goal, Objective
from loopllm.priors.observation import USUAL_WAY, CallObservation, RoundObservation
from loopllm.priors.policy import Decision, Policy
from loopllm.priors.statistics import Statistics

__all__ = [
    "USUAL_WAY",
    "CallObservation",
    "Decision",
    "Goal",
    "Objective",
    "Policy",
    "RoundObservation",
    "Statistics",
]
