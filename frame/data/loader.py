"""Loaders: whole batches of a source, in an order that (seed, epoch) determines, resumable at any batch."""

import copy
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Protocol, runtime_checkable
from zlib import crc32

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from frame.common.errors import Unread, UserError
from frame.common.faults import Elsewhere
from frame.data.base import Batch, Epoch, Indices, Source, announce, at_epoch, is_resident, is_seeded, moved, streams

_MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """A 64-bit seed from integers: one round of SplitMix64 (Steele, Lea and Flood 2014) for each of them."""
    state = len(numbers)
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


@runtime_checkable
class Loads(Protocol):
    """The interface of loaders, including users' own.

    In addition to the arguments of its YAML file, a loader is given `source`, `batch_size`, `seed`, `rank`, `world`,
    `limit` and `device`, as far as its constructor takes them. `epoch` counts complete epochs; `epochs` adds the share
    of the current one. With the numbers of `state_dict`, another loader continues with the next batch. A loader may
    have `rows`, those of a full batch (else `params.batch_size`), and `world`, the number of ranks (else 1).
    """

    epoch: int

    @property
    def epochs(self) -> float: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Loader:
    """Sized, sharded, resumable batches of one split.

    With W ranks, global batch i is rows [i*B*W, (i+1)*B*W) of the epoch's permutation, and each rank takes every W-th
    of them. Together they see what one process with batch size B*W sees. The last, shorter batch is kept. So that ranks
    have equal batches, up to W - 1 rows (others each epoch) are left out of an epoch.

    A source that zips others has several streams of rows. One leads: an epoch is a pass over it as above. For another
    stream of n rows and batch size b, global batch g since the start is batch j of pass k with k, j = divmod(g, n //
    (b*W)). Each pass is a new permutation, without the rows that do not fill a batch. A stream of fewer than b*W rows
    gives all of them in each batch, as far as the ranks can share them.

    Args:
        source: what to read.
        batch_size: B, rows per batch and rank.
        seed: fixes the order of the rows and the noise of `source.transform`, whatever else draws random numbers.
        rank, world: this process and the number of processes.
        shuffle: whether each epoch has a new permutation; else rows keep their order.
        num_workers: processes that read ahead; unused if the source moves to the device as a whole.
        in_flight: batches that each worker reads ahead.
        resident: whether the source moves to the device as a whole, once. null: if it is in memory; true: it must (else
            UserError); false: never, so that workers read sources in memory, too.
        limit: largest number of batches per epoch (int), or a share of them (float in (0, 1]).
        device: the device of batches.

    Raises:
        UserError: a value is out of range, or there are fewer rows than ranks.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        seed: int = 0,
        *,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
        num_workers: int = 0,
        in_flight: int = 2,
        resident: bool | None = None,
        limit: int | float | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise UserError(f"batch_size={batch_size} must be a whole number of at least 1")
        for name, value, least in (("num_workers", num_workers, 0), ("in_flight", in_flight, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UserError(f"loader.{name}={value} must be a whole number of at least {least}")
        if not 0 <= rank < world:
            raise UserError(f"rank {rank} is not one of {world} processes")
        self._streams = streams(source)
        for path, stream in self._streams.items():
            if stream.rows < world:
                which = f"'{path}' of" if path else "a split of"
                raise UserError(
                    f"{which} {stream.rows} rows cannot be shared by {world} processes: use fewer processes"
                )
        if resident and not is_resident(source):
            raise UserError("loader=memory: these data do not lie in memory: use loader=per_sample, or loader=auto")
        self.source, self.batch_size, self.seed = source, batch_size, seed
        self.rank, self.world, self.shuffle = rank, world, shuffle
        self.num_workers, self.in_flight = num_workers, in_flight
        self._in_memory = is_resident(source) if resident is None else resident
        self._leader = self._lead()
        self._length = _limited(self._batches(self._leader), limit)
        self._pass: dict[str, tuple[int, Tensor]] = {}  # the newest permutation of each stream that does not lead
        self.epoch, self.position = 0, 0  # complete epochs, and consumed batches of the current one
        self._underway = False  # an iterator has started since the state was last set
        self._workers: _Workers | None = None
        self.to(device)

    def __len__(self) -> int:
        """Batches per epoch, on each rank."""
        return self._length

    @property
    def epochs(self) -> float:
        """Epochs consumed; exactly a whole number at an epoch's end."""
        return (self.epoch * len(self) + self.position) / len(self)

    @property
    def rows(self) -> int:
        """Rows of a full batch on each rank, including those of nested batches."""
        return self.batch_size if list(self._streams) == [""] else sum(map(self._size, self._streams))

    def to(self, device: torch.device | str) -> "Loader":
        """From now on, batches are on `device`."""
        self.device = torch.device(device)
        self._resident, self._here = False, self.source
        if self._in_memory and self.device.type != "cpu":
            self._resident, self._here = True, self.source.to(self.device)  # type: ignore[attr-defined]
        # indices are then all that `made` needs; on a device, nothing else moves
        self._reads_there = self._in_memory and list(self._streams) == [""] and not is_seeded(self.source)
        self._generator = torch.Generator(self.device)
        self._transform = self._here.transform
        return self

    def compile(self, compiled: Callable[[Any], Any]) -> None:
        """From now on, batches go through `compiled(transform)` of the source."""
        self._transform = compiled(self._here.transform)

    def state_dict(self) -> dict[str, int]:
        """Consumed batches, including the one in training; an epoch's end is the next one's start; and the ranks."""
        return {"epoch": self.epoch, "position": self.position, "world": self.world}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next iterator continues with the next batch.

        With another number of processes, a batch of all of them has another number of rows. The next one is then the
        first that has new rows; others of it may be repeated.

        Raises:
            UserError: an epoch does not have this position.
        """
        position, former = state["position"], state.get("world", self.world)
        if former != self.world:
            position = min(position * former // self.world, len(self) - 1)
        if not 0 <= position < len(self):
            raise UserError(
                f"the checkpoint is at batch {position} of an epoch that now has {len(self)}: "
                "resume with the same data, batch_size and limits"
            )
        self.epoch, self.position = state["epoch"], position
        self._underway = False

    def __iter__(self) -> Iterator[Batch]:
        for rows in self.stored():
            yield self.made(rows)

    def stored(self) -> Iterator[Batch]:
        """What `made` turns into batches before the next one is asked for: rows as they are stored, with 'index'.

        It is 'index' alone if the rows can be read where they are by `made`.
        """
        # A generator: nothing happens before the first next(), because Lightning calls iter() more than once.
        if self._underway and self.position > 0:  # the former iterator was not exhausted: its epoch is over
            self.epoch, self.position = self.epoch + 1, 0
        self._underway = True
        epoch, start = self.epoch, self.position
        shares = self._shares(epoch, start)
        fetched = ({"index": share[1]} for share in shares) if self._reads_there else self._fetch(shares)
        for position, rows in enumerate(fetched, start):
            # before the batch is yielded, so that a checkpoint taken while it trains counts it
            done = position + 1 == len(self)
            self.epoch, self.position = (epoch + 1, 0) if done else (epoch, position + 1)
            self._generator.manual_seed(mix(self.seed, epoch, position, self.rank))
            yield rows

    def made(self, rows: Batch) -> Batch:
        """The batch of what `stored` gave last, with the noise of its position."""
        if self._reads_there:
            rows = self._here.batch(rows["index"])
        return self._transform(rows, self._generator)

    @property
    def generator(self) -> torch.Generator:
        """Of the noise of `made`, seeded for each batch."""
        return self._generator

    def on_meta(self) -> "Loader":
        """A copy whose `made` computes nothing but shapes, with rows on the device 'meta'."""
        there = copy.copy(self)
        if self._reads_there:
            there._here = self._here.to(torch.device("meta"))  # type: ignore[attr-defined]
        there._transform = there._here.transform
        return there

    def kinds(self) -> list[tuple[int, Indices]]:
        """The kinds of batches of an epoch on one process: their number, and as many rows as one of them has.

        There are full batches, and the last one if it is shorter.
        """
        n, size = self._streams[self._leader].rows // self.world, self._size(self._leader)
        n_full = min(n // size, len(self))
        kinds = [(n_full, size)] * (n_full > 0) + [(1, n % size)] * (len(self) > n_full)
        return [(count, self._first_rows(rows)) for count, rows in kinds]

    @property
    def fewest(self) -> int:
        """Rows of the smallest batch of an epoch, over all ranks, without nested batches."""
        return self.world * min(len(rows[""] if isinstance(rows, dict) else rows) for _, rows in self.kinds())

    def _first_rows(self, rows: int) -> Indices:
        if list(self._streams) == [""]:
            return torch.arange(rows)
        return {path: torch.arange(rows if path == self._leader else self._size(path)) for path in self._streams}

    def _lead(self) -> str:
        """The stream of which an epoch is one pass: the named one, or the longest in batches (the first of equals)."""
        named = [path for path, stream in self._streams.items() if stream.leads]
        return named[0] if named else max(self._streams, key=self._batches)

    def _size(self, path: str) -> int:
        """Rows per batch of a stream."""
        stream = self._streams[path]
        return min(stream.batch_size or self.batch_size, stream.rows // self.world)

    def _batches(self, path: str) -> int:
        return -(-(self._streams[path].rows // self.world) // self._size(path))

    def _order(self, epoch: int, path: str = "") -> Tensor:
        """This rank's rows of a stream in an epoch, int64 [n // world], on the rows' device."""
        n = self._streams[path].rows
        order = self._permutation(epoch, path)
        mine = order[: n - n % self.world][self.rank :: self.world].contiguous()
        return mine.to(self.device) if self._resident else mine

    def _permutation(self, epoch: int, path: str) -> Tensor:
        n = self._streams[path].rows
        if not self.shuffle:
            return torch.arange(n)
        seed = mix(self.seed, epoch) if path == "" else mix(self.seed, epoch, crc32(path.encode()))
        return torch.randperm(n, generator=torch.Generator().manual_seed(seed))

    def _shares(self, epoch: int, start: int) -> list["Share"]:
        """The rows that this rank reads in the rest of an epoch, batch by batch."""
        leading = self._order(epoch, self._leader).split(self._size(self._leader))[start : len(self)]
        if list(self._streams) == [""]:
            return [(epoch, rows) for rows in leading]
        shares: list[Share] = []
        for position, rows in enumerate(leading, start):
            epochs, indices = {self._leader: epoch}, {self._leader: rows}
            for path in (path for path in self._streams if path != self._leader):
                epochs[path], indices[path] = self._cycled(path, epoch * len(self) + position)
            shares.append((epochs, indices))
        return shares

    def _cycled(self, path: str, g: int) -> tuple[int, Tensor]:
        """The pass and this rank's rows [b] of a stream that does not lead, in global batch g since the start."""
        together = self._size(path) * self.world
        number, j = divmod(g, self._streams[path].rows // together)
        if self._pass.get(path, (-1,))[0] != number:
            self._pass[path] = number, self._permutation(number, path)
        rows = self._pass[path][1][j * together : (j + 1) * together][self.rank :: self.world]
        return number, rows.to(self.device) if self._resident else rows.contiguous()

    def _fetch(self, shares: Sequence["Share"]) -> Iterator[Batch]:
        if self.num_workers > 0 and not self._in_memory:
            if self._workers is None:
                pinned = self.device.type == "cuda"
                self._workers = _Workers(self.source, self.seed, self.num_workers, self.in_flight, pinned)
            fetched = self._workers.fetch(shares)
        else:
            fetched = self._read(shares)
        if self._resident or self.device.type == "cpu":
            return fetched
        return (moved(rows, self.device) for rows in fetched)

    def _read(self, shares: Sequence["Share"]) -> Iterator[Batch]:
        before, here = None, self._here
        for number, (epoch, indices) in enumerate(shares):
            for _, rows in shares[number + self.in_flight if number else 1 : number + self.in_flight + 1]:
                announce(here, rows)
            if epoch != before:
                before, here = epoch, at_epoch(self._here, self.seed, epoch)
            yield here.batch(indices)


Share = tuple[Epoch, Indices]  # the epoch of the noise that rows draw while they are read, and the rows


class _Workers:
    """Processes that read ahead. They live as long as this object; each share names its epoch."""

    def __init__(self, source: Source, seed: int, num_workers: int, in_flight: int, pin_memory: bool) -> None:
        self._plan: list[Share] = []
        self._loader: DataLoader = DataLoader(
            _WholeBatches(source, seed),
            sampler=self._plan,
            batch_size=None,
            num_workers=num_workers,
            prefetch_factor=in_flight,
            persistent_workers=True,
            pin_memory=pin_memory,
            worker_init_fn=_hide_cut_connections,
            generator=torch.Generator(),  # its own, so that starting workers does not change the run's noise
        )

    def fetch(self, shares: Sequence["Share"]) -> Iterator[Batch]:
        """The batches of the shares, in their order.

        Raises:
            Unread: a process has died.
        """
        self._plan[:] = shares
        # torch's handler would raise an error wherever the run is when a worker dies, even within a step
        before = signal.getsignal(signal.SIGCHLD)
        found = iter(self._loader)
        if signal.getsignal(signal.SIGCHLD) is not before:
            signal.signal(signal.SIGCHLD, before)
        while True:
            try:
                rows = next(found)
            except StopIteration:
                return
            except (RuntimeError, OSError, EOFError) as error:  # OSError: its batch was on the way
                raise self._died(found) or error from None
            if isinstance(rows, Exception):
                raise rows
            yield rows

    def _died(self, found: Any) -> Unread | None:
        """What to say of workers that have died; None if all are alive."""
        workers = getattr(found, "_workers", [])
        ended = wait([worker.sentinel for worker in workers], timeout=1)  # until one has closed its files
        dead = [(i, worker) for i, worker in enumerate(workers) if worker.sentinel in ended]
        if not dead:
            return None
        i, worker = dead[0]
        worker.join()
        number = -(worker.exitcode or 0)
        hints: dict[int, str] = {
            signal.SIGKILL: ", perhaps for want of memory: set device.num_workers or loader.in_flight lower",
            signal.SIGBUS: ": a file that it was reading was cut short, the disk failed, or /dev/shm is full: mend it",
        }
        how = f"was killed by {signal.Signals(number).name}{hints.get(number, '')}" if number > 0 else "has ended"
        return Unread(
            f"worker {i} of {len(workers)} (process {worker.pid}), which reads data, {how}; then resume the run"
        )


def _hide_cut_connections(worker: int) -> None:
    """In a worker: a run that ends while a batch is on the way prints no traceback of the thread that hands it over."""
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, ConnectionError | EOFError):
            shown(kind, error, trace)

    sys.excepthook = hook


class _WholeBatches(Dataset):
    def __init__(self, source: Source, seed: int) -> None:
        self.source, self.seed = source, seed

    def __getitem__(self, share: "Share") -> Batch | UserError | Elsewhere:
        epoch, indices = share
        try:
            return at_epoch(self.source, self.seed, epoch).batch(indices)
        except UserError as error:  # returned, not raised: torch would wrap its one line in a traceback
            return error
        except Exception as error:  # of the user's data set
            return Elsewhere.of(error)


def _limited(batches: int, limit: int | float | None) -> int:
    if limit is None:
        return batches
    if isinstance(limit, float) and 0 < limit <= 1:
        return max(1, int(batches * limit))
    if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 1:
        return min(batches, limit)
    raise UserError(f"a limit of {limit} batches must be a whole number of at least 1, or a part in (0, 1]")
