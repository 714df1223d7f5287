"""All that is kept under one key, as one additive vector.

Five kinds of counters, told apart by the first letter of their name:

    t/<generation>/<cell>/<outcome>/<way>   transitions, by way of asking again and by age (see `forgetting`)
    f/<generation>/<bin>                    first scores, by age (see `first_scores`)
    d/<depth>/<what>                        sums per depth: runs seen, scores, gains, passes
    c/<era>/<quantity>/<power>/<way>        money, milliseconds and tokens of calls, by way and age (see `cost_sums`)
    s/<what>                                sums per run: runs, calls, milliseconds

Every counter is a plain sum, so a merge is an addition, in any order, with the empty vector as identity. Nothing of the
prior is in here: `s/runs` counts runs, and no run counts twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import add

from loopllm.priors.cost_sums import CostRow, Era, add_row, counter_names, empty_row, position
from loopllm.priors.counts import WIDTH, Row, TransitionCounts
from loopllm.priors.first_scores import FIRST_BINS, no_first_scores
from loopllm.priors.run_state import CELLS

Layer = tuple[int, str]
"""Generation and way of asking."""

_CELLS, _OUTCOMES, _FIRST_BINS = range(CELLS), range(WIDTH), range(FIRST_BINS)


class Statistics:
    """The statistics of one key.

    >>> one, two = Statistics(), Statistics()
    >>> one.bump("s/runs"); two.bump("s/runs"); two.transition(0, "last", 8, 11)
    >>> one.merge(two)
    >>> sorted(one.counters().items())
    [('s/runs', 2.0), ('t/0/8/11/last', 1.0)]
    >>> Statistics.from_counters(one.counters()) == one
    True

    Attributes:
        sums: Counters of the kinds `d/` and `s/`, by name.
        layers: Transition counts by (generation, way).
        firsts: Number of first scores per bin, by generation.
        costs: What calls cost by (era, way).
    """

    __slots__ = ("costs", "firsts", "layers", "sums")

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.layers: dict[Layer, TransitionCounts] = {}
        self.firsts: dict[int, Row] = {}
        self.costs: dict[Era, CostRow] = {}

    def bump(self, name: str, by: float = 1.0) -> None:
        """Add to a sum."""
        self.sums[name] = self.sums.get(name, 0.0) + by

    def transition(self, generation: int, way: str, cell: int, outcome: int, weight: float = 1.0) -> None:
        """Count one transition."""
        layer = self.layers.get((generation, way))
        if layer is None:
            layer = self.layers[generation, way] = TransitionCounts()
        layer.add(cell, outcome, weight)

    def first_score(self, generation: int, at: int, weight: float = 1.0) -> None:
        """Count one first score, in bin `at`."""
        row = self.firsts.get(generation)
        if row is None:
            row = self.firsts[generation] = no_first_scores()
        row[at] += weight

    def cost_row(self, era: int, way: str) -> CostRow:
        """The row of an era and way, to be added to."""
        row = self.costs.get((era, way))
        if row is None:
            row = self.costs[era, way] = empty_row()
        return row

    def get(self, name: str) -> float:
        """A sum, 0 when nothing was added to it."""
        return self.sums.get(name, 0.0)

    @property
    def runs(self) -> float:
        """Runs counted."""
        return self.get("s/runs")

    def merge(self, other: Statistics) -> None:
        """Add the other statistics, in place."""
        for name, value in other.sums.items():
            self.bump(name, value)
        self.add_layers(other.layers)
        self._add_firsts(other.firsts)
        for key, row in other.costs.items():
            add_row(self.cost_row(*key), row)
            if not any(self.costs[key]):
                del self.costs[key]

    def add_layers(self, layers: Mapping[Layer, TransitionCounts]) -> None:
        """Add transition counts, in place."""
        for layer, counts in layers.items():
            have = self.layers.get(layer)
            if have is None:
                self.layers[layer] = TransitionCounts(counts.cells)
                continue
            have.merge(counts)
            if not any(map(any, have.cells.values())):
                del self.layers[layer]

    def _add_firsts(self, firsts: Mapping[int, Row]) -> None:
        for generation, row in firsts.items():
            total = list(map(add, self.firsts.get(generation, no_first_scores()), row))
            self.firsts[generation] = total
            if not any(total):
                del self.firsts[generation]

    def counters(self) -> dict[str, float]:
        """The whole statistic as a sparse vector for a store; zeros are left out."""
        named = {name: value for name, value in self.sums.items() if value}
        for (generation, way), counts in self.layers.items():
            for cell, outcome, count in counts.items():
                named[f"t/{generation}/{cell}/{outcome}/{way}"] = count
        for generation, row in self.firsts.items():
            named |= {f"f/{generation}/{at}": count for at, count in enumerate(row) if count}
        for (era, way), row in self.costs.items():
            named |= {name: x for name, x in zip(counter_names(era, way), row, strict=True) if x}
        return named

    @classmethod
    def from_counters(cls, counters: Mapping[str, float]) -> Statistics:
        """Read a sparse vector back; counters of a newer version that are not understood are kept as sums."""
        statistics = cls()
        for name, value in counters.items():
            try:
                placed = statistics._placed(name.split("/", 4), value)
            except ValueError:  # a number of a name is none
                placed = False
            if not placed:
                statistics.bump(name, value)
        return statistics

    def _placed(self, parts: Sequence[str], value: float) -> bool:
        """Add to a table; False where none that is known has room for it."""
        match parts:
            case ["t", generation, cell, outcome, way] if int(cell) in _CELLS and int(outcome) in _OUTCOMES:
                if value:
                    self.transition(int(generation), way, int(cell), int(outcome), value)
            case ["f", generation, first] if int(first) in _FIRST_BINS:
                if value:
                    self.first_score(int(generation), int(first), value)
            case ["c", era, quantity, power, way] if (at := position(quantity, power)) is not None:
                if value:
                    self.cost_row(int(era), way)[at] += value
            case _:
                return False
        return True

    def __eq__(self, other: object) -> bool:
        """Compare counter by counter; an absent counter is zero."""
        if not isinstance(other, Statistics):
            return NotImplemented
        return self.counters() == other.counters()

    __hash__ = None  # type: ignore[assignment]  # mutable, so not a key

    def __repr__(self) -> str:
        return f"Statistics({self.runs:g} runs, {len(self.layers)} layers)"
