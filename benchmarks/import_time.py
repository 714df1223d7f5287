"""What `import loopllm` costs beside `import pydantic`: CPU time of fresh processes, measured in turns.

python benchmarks/import_time.py [--json]
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys

STATEMENTS = {
    "python alone": "pass",
    "import pydantic": "import pydantic",
    "import loopllm": "import loopllm",
    "from loopllm import LoopedLLM": "from loopllm import LoopedLLM",
}


def cpu_milliseconds(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000.0


def measure(rounds: int = 11) -> dict[str, float]:
    """Median milliseconds of CPU by statement."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(rounds):
        for name, code in STATEMENTS.items():
            times[name].append(cpu_milliseconds(code))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    measured = measure()
    if "--json" in sys.argv:
        print(json.dumps(measured, indent=2))
        return
    for name, milliseconds in measured.items():
        print(f"{name:32}{milliseconds:8.1f} ms{milliseconds / measured['import pydantic']:8.2f} x pydantic")


if __name__ == "__main__":
    main()
