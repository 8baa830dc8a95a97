"""Evaluations on several ranks: the chunks of their work are dealt to ranks, and all ranks receive all results.

Every rank runs the same evaluation. Only what `dealt` and `once` compute differs between ranks, so that all of them
reach the same calls of these two, in the same order.
"""

import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import _get_default_store

from frame.common.errors import NoNumber, Parted, UserError
from frame.common.memory import limit, shown
from frame.common.ranks import from_rank_0, gathered, in_parts, own_part
from frame.common.seeds import seed_torch

T = TypeVar("T")
END = "the end of the evaluation"
PATIENCE = timedelta(seconds=20)  # of a rank that has failed, with ranks that are at most a chunk behind


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Sets the random state from `seed`, and restores it at the end."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        seed_torch(seed)
        yield


def seed_chunk(seed: int, chunk: int) -> None:
    """Seeds torch for one chunk; the noise is not that of any small seed, such as the evaluation's own."""
    # odd constants spread neighbouring (seed, chunk) over 63 bits
    seed_torch((seed * 0x9E3779B97F4A7C15 + (chunk + 1) * 0xBF58476D1CE4E5B9) % 2**63)


def _gather(own: Any) -> list[Any]:
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, own)
    return found


class Failures:
    """In which steps of an evaluation a rank has failed, in the store through which the processes found each other.

    Args:
        number: of the evaluation, the same on all ranks.
    """

    def __init__(self, number: int) -> None:
        self.number, self.store = number, _get_default_store()

    def tell(self, step: int) -> None:
        self.store.set(self._key(step), "failed")

    def told(self, step: int) -> bool:
        """Whether a rank has failed in this step; waits for none."""
        return bool(self.store.check([self._key(step)]))

    def _key(self, step: int) -> str:
        return f"frame/evaluation {self.number}/step {step}"


class Ranks:
    """The ranks that run one evaluation, as one of them sees them.

    Args:
        rank, world: this rank, and the number of ranks.
        gather: gives what every rank passed to it.
        in_step: whether they hold parts of one model, so that all of them must compute with it equally often.
        failures: tells ranks that another one has failed, such as by a signal, before they meet it. None: they learn
            it then.
    """

    def __init__(
        self,
        rank: int = 0,
        world: int = 1,
        gather: Callable[[Any], list[Any]] = _gather,
        in_step: bool = False,
        failures: Failures | None = None,
    ) -> None:
        self.rank, self.world, self.gather, self.in_step, self.failures = rank, world, gather, in_step, failures
        self.steps = 0  # in which they have met
        self.over: BaseException | None = None  # ranks have parted: why

    def another_failed(self) -> bool:
        """Whether work before the next step is in vain. Ranks with parts of a model must do it nevertheless."""
        return self.failures is not None and not self.in_step and self.failures.told(self.steps)

    def exchange(self, own: Any, step: str) -> list[Any]:
        """What each rank passes in this step.

        A rank that fails passes its error instead. A rank that fails between two steps does so at the last one, so that
        no rank waits for it.

        Raises:
            BaseException: the error of the first rank that has one, on all ranks.
            RuntimeError: ranks are in different steps.
            Parted: this rank has failed while others wait for its part of the model, or they are lost.
        """
        if self.over is not None:
            raise self.over
        if self.failures is not None and isinstance(own, BaseException):
            self.failures.tell(self.steps)
        self.steps += 1
        if self.in_step:
            self._meet(own)
        try:
            found = self.gather((step, _carried(own, self.rank) if isinstance(own, BaseException) else own))
        except BaseException as lost:  # the connection
            self.over = lost
            if self.in_step:
                self.over = Parted(f"rank {self.rank} has lost the others ({lost})")
                raise self.over from lost
            raise
        steps, parts = [name for name, _ in found], [part for _, part in found]
        error = next((part for part in parts if isinstance(part, BaseException)), None)
        if error is None and len(set(steps)) == 1:
            return parts
        if error is None:
            listed = ", ".join(f"rank {rank}: {name}" for rank, name in enumerate(steps))
            error = RuntimeError(f"the evaluation differs between ranks ({listed})")
        elif isinstance(own, BaseException) and not any(isinstance(part, BaseException) for part in parts[: self.rank]):
            error = own  # with its traceback
        if len(set(steps)) > 1 or END in steps:
            self.over = error
        raise error

    def _meet(self, own: Any) -> None:
        """Waits for the other ranks; not for long if this one has failed, because they may wait for its part."""
        there, failed = torch.ones(1), isinstance(own, BaseException)
        try:
            work = distributed.all_reduce(there, group=_meeting(distributed.group.WORLD), async_op=True)
            work.wait(*([PATIENCE] if failed else []))
        except RuntimeError as lost:
            self.over = Parted(f"rank {self.rank} cannot evaluate together with the others ({own if failed else lost})")
            raise self.over from (own if failed else lost)


@cache
def _meeting(world: Any) -> Any:
    """A group of all ranks on the CPU, in which nothing else waits."""
    return distributed.new_group(backend="gloo")


def _carried(error: BaseException, rank: int) -> BaseException:
    """A copy of the error for all ranks, which says where it was raised."""
    try:
        copy: BaseException = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = UserError(str(error)) if isinstance(error, UserError) else RuntimeError(repr(error))
    if not isinstance(copy, UserError):
        copy.add_note(f"raised on rank {rank}:\n{''.join(traceback.format_exception(error))}")
    return copy


_numbers = count()
_ranks: ContextVar[Ranks] = ContextVar("ranks")
_ALONE = Ranks()


@contextmanager
def shared(ranks: Ranks) -> Iterator[None]:
    """Within this context `dealt` and `once` share work with these ranks. Without it a process computes everything."""
    token = _ranks.set(ranks)
    try:
        yield
    finally:
        _ranks.reset(token)


def together(model: nn.Module, measure: Callable[[], T], rank: int, world: int) -> T:
    """What `measure` returns on this rank, once all ranks have called it. They share its work and rank 0's buffers.

    Args:
        model: the model that is measured; its parameters are the same on all ranks, or each holds a part of them. Its
            buffers may differ.
        measure: the evaluation.
        rank, world: this rank, and the number of ranks.

    Raises:
        BaseException: an error of any rank, on all ranks.
    """
    if world == 1:
        return measure()
    ranks = Ranks(rank, world, in_step=in_parts(model), failures=Failures(next(_numbers)))
    found, failure = list[T](), None
    try:
        with shared(ranks), _buffers_of_rank_0(model, ranks), gathered(model):
            found.append(measure())
    except BaseException as error:
        failure = error
    ranks.exchange(failure, END)
    return found[0]


@contextmanager
def _buffers_of_rank_0(model: nn.Module, ranks: Ranks) -> Iterator[None]:
    """Within this context the model's buffers are copies of rank 0's; afterwards they are its own again.

    Those of which each rank holds a part stay as they are.
    """
    own = [
        (m, name, b) for m in model.modules() for name, b in m._buffers.items() if b is not None and own_part(b) is b
    ]
    copies: dict[int, Tensor] = {}
    failure = None
    try:
        copies = {id(b): b.detach().clone(memory_format=torch.contiguous_format) for *_, b in own}
    except RuntimeError as error:  # out of memory
        failure = error
    ranks.exchange(failure, f"{len(own)} buffers of {sum(b.nbytes for *_, b in own)} bytes")
    for copy in copies.values():
        if copy.numel():
            from_rank_0(copy.view(-1).view(torch.uint8))  # not every backend takes every type, but all take bytes
    try:
        for module, name, buffer in own:
            module._buffers[name] = copies[id(buffer)]
        yield
    finally:
        for module, name, buffer in own:
            module._buffers[name] = buffer


def once(compute: Callable[[], T]) -> T:
    """What `compute` returns on rank 0, which alone calls it, on all ranks; it must be picklable.

    It may not compute with the model, of which other ranks may hold parts.

    Raises:
        BaseException: its error, on all ranks.
    """
    ranks = _ranks.get(_ALONE)
    if ranks.world == 1:
        return compute()
    own: Any = None
    try:
        own = pickle.dumps(compute()) if ranks.rank == 0 else None
    except BaseException as error:
        own = error
    found: T = pickle.loads(ranks.exchange(own, "once")[0])
    return found


def dealt(sizes: Sequence[int], compute: Callable[[int], dict[str, Tensor]], seed: int = 0) -> dict[str, Tensor]:
    """What `compute` returns for each chunk, concatenated in the order of the chunks, on the CPU.

    Chunk i is computed on rank i modulo their number. Torch's noise in it is seeded by (`seed`, i), so that the result
    does not depend on the number of ranks. If ranks hold parts of the model, one that has no chunk left computes the
    first one again, which is dropped.

    Args:
        sizes: rows of each chunk.
        compute: tensors by name of chunk i, the same names for each: [sizes[i], ...], or [1, ...] for a whole chunk.
        seed: another seed gives other noise.

    Raises:
        BaseException: an error in `compute` on any rank, on all ranks.
    """
    ranks = _ranks.get(_ALONE)
    mine = range(ranks.rank, len(sizes), ranks.world)
    columns: dict[str, _Column] = {}
    failure = None
    try:
        with seeded(seed):
            for i in mine:
                if ranks.another_failed():
                    break
                seed_chunk(seed, i)
                for name, part in compute(i).items():
                    if name not in columns:
                        n = len(mine) if len(part) < sizes[i] else sum(sizes[i] for i in mine)
                        columns[name] = _Column(n, part)
                    columns[name].add(part)
            if ranks.in_step and len(mine) < len(range(0, len(sizes), ranks.world)):
                compute(0)
    except BaseException as error:
        if ranks.world == 1:
            raise
        failure = error
    if ranks.world == 1:
        return {name: column.rows[: column.n] for name, column in columns.items()}
    own = {name: (column.rows[: column.n].clone(), column.lengths) for name, column in columns.items()}
    found = ranks.exchange(own if failure is None else failure, f"{len(sizes)} chunks of {sum(sizes)} rows")
    return _joined(found, len(sizes))


class _Column:
    """Parts of a tensor one below the other, in memory that is allocated once.

    Raises:
        NoNumber: they would take more than half of the memory, such as the pixels of all rows of a large set.
    """

    def __init__(self, n: int, part: Tensor) -> None:
        n_bytes = n * part[:1].numel() * part.element_size()
        if n_bytes > limit() // 2:
            raise NoNumber(
                f"{n} rows of {part[:1].numel()} numbers take {shown(n_bytes)}, more than half of the memory: limit "
                "the rows by n_samples, n_train_samples or n_bank, or leave out floors such as pixels"
            )
        self.rows = torch.empty(n, *part.shape[1:], dtype=part.dtype)
        self.lengths: list[int] = []
        self.n = 0

    def add(self, part: Tensor) -> None:
        self.rows[self.n : self.n + len(part)] = part
        self.lengths.append(len(part))
        self.n += len(part)


def _joined(found: list[dict[str, tuple[Tensor, list[int]]]], n_chunks: int) -> dict[str, Tensor]:
    """The columns of all ranks, their chunks in order."""
    names = list(dict.fromkeys(name for columns in found for name in columns))
    joined = {}
    for name in names:
        parts = [iter(columns[name][0].split(columns[name][1]) if name in columns else ()) for columns in found]
        joined[name] = torch.cat([next(parts[i % len(found)]) for i in range(n_chunks)])
    return joined
