"""Ends bad runs early: Hyperband, with the settings of W&B's `early_terminate`.

One bracket of Li et al. 2018, "Hyperband" (1603.06560): at a rung, a run continues if its value is among the best
1 / eta of all runs that reached the rung so far, without waiting for others (Li et al. 2020, 1810.05934). Rungs count
measurements of the metric.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frame.common.errors import UserError, choices
from frame.sweeps.search_space import number


@dataclass(frozen=True)
class Hyperband:
    """Args:
    rungs: numbers of measurements after which a run is judged, ascending.
    eta: one in eta runs continues.
    """

    rungs: tuple[int, ...]
    eta: float = 3.0

    @classmethod
    def parse(cls, plain: Mapping[str, Any]) -> "Hyperband":
        """`min_iter` (rungs min_iter eta^k), or `max_iter` and `s` (rungs max_iter / eta^k for k = s ... 1).

        Raises:
            UserError: both are missing, or a number is too small.
        """
        known = ("type", "min_iter", "max_iter", "s", "eta", "strict")
        for key in plain:
            if key not in known:
                raise UserError(f"early_terminate: {choices(str(key), known, kind='key')}")
        if str(plain.get("type")) != "hyperband":
            raise UserError(f"early_terminate: {choices(str(plain.get('type')), ('hyperband',), kind='type')}")
        given = {key: number("early_terminate", key, plain[key]) for key in known[1:5] if plain.get(key) is not None}
        eta = given.get("eta", 3.0)
        if not eta > 1:
            raise UserError(f"early_terminate: eta={eta} must be above 1")
        if max(given.values(), default=0) > 1e9 or given.get("s", 0) > 40:
            raise UserError("early_terminate: its numbers are too large")
        if "min_iter" in given:
            rungs = [round(min(int(given["min_iter"]) * eta**k, 1e15)) for k in range(40 if eta < 1e6 else 2)]
        elif "max_iter" in given and "s" in given:
            rungs = [round(given["max_iter"] / eta**k) for k in range(int(given["s"]), 0, -1)]
        else:
            raise UserError("early_terminate: it needs min_iter, or max_iter and s")
        if not rungs or rungs[0] < 1:
            raise UserError("early_terminate: the first rung is below 1 measurement: choose larger numbers")
        return cls(tuple(dict.fromkeys(rungs)), eta)

    def ends(self, values: Sequence[float], others: Sequence[Sequence[float]], maximize: bool) -> int | None:
        """The rung at which a run with these measurements ends, or None.

        Args:
            values: the run's measurements so far, in order.
            others: the measurements of the study's other runs.
            maximize: whether more is better.
        """
        reached = [rung for rung in self.rungs if rung <= len(values)]
        if not reached:
            return None
        rung, sign = reached[-1], 1.0 if maximize else -1.0
        # W&B takes the best value up to the rung
        own = max(sign * value for value in values[:rung])
        rivals = [max(sign * value for value in other[:rung]) for other in others if len(other) >= rung]
        better = sum(rival > own for rival in rivals)
        return rung if better >= math.ceil((len(rivals) + 1) / self.eta) else None
