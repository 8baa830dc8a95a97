"""Ranks of an evaluation in one process, one after the other."""

from collections.abc import Callable
from typing import Any, TypeVar

from frame.evaluation.shards import END, Ranks, shared

T = TypeVar("T")


class Waits(BaseException):
    """A rank waits for the others."""


def on_ranks(world: int, evaluate: Callable[[int], T]) -> list[T | BaseException]:
    """What `evaluate` returns or raises on each rank. Ranks take turns: all repeat their work up to each exchange.

    An error that reaches only some of them leaves the others waiting, which fails.
    """
    exchanges: list[list[Any]] = []
    while True:
        given: dict[int, Any] = {}
        found: list[T | BaseException] = []
        for rank in range(world):
            found.append(_turn(rank, world, evaluate, exchanges, given))
        if not given:
            return found
        assert len(given) == world, f"only ranks {sorted(given)} of {world} are at exchange {len(exchanges)}"
        exchanges.append([given[rank] for rank in range(world)])


def _turn(
    rank: int, world: int, evaluate: Callable[[int], T], exchanges: list[list[Any]], given: dict[int, Any]
) -> T | BaseException:
    known = iter(exchanges)

    def gather(own: Any) -> list[Any]:
        for parts in known:
            return parts
        given[rank] = own
        raise Waits

    ranks, failure = Ranks(rank, world, gather), None
    try:
        try:
            with shared(ranks):
                found = evaluate(rank)
        except Waits:
            raise
        except BaseException as error:
            failure = error
        ranks.exchange(failure, END)
        return found
    except BaseException as error:
        return error
