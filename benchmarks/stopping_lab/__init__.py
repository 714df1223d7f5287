"""The laboratory behind `benchmarks/stopping.py`: one file per question.

trajectories: what a set of runs is, and what stopping after call k is worth.
environments: where simulated runs come from.      real_runs: where recorded runs come from.
trial: one environment of one repetition.          baselines: rules that learn nothing.
trees: a small regression.                         dp_star: the best rule that cannot see the future.
learner: the policy under test, online and frozen. evaluation: one trial, measured.
coldstart, calibration, losses: three questions on their own.
summary: shares of the gap.                        table, picture: how it is shown.
"""
