"""How `core/loopllm/priors/cold_start.json` is made: `python -m benchmarks.cold_start.fit`.

families: where the simulated runs come from.
tables: what is counted in them, and how sparse counts are smoothed.
fit: which environments are alike, and how the mixture is written down.
"""
