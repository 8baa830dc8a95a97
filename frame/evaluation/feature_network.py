"""Features of pictures from a network trained here, without a download.

Numbers that use them are not comparable with published ones.
"""

import hashlib
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frame.common.errors import UserError, choices
from frame.common.files import write_whole
from frame.data.base import Batch, DataSet, whole_batch
from frame.evaluation.base import batches
from frame.evaluation.shards import once, seeded
from frame.measures.pca import PCA
from frame.measures.scores import kind_of
from frame.measures.statistics import fraction

FORMAT = 1  # of the cached file; files of other versions are ignored
KINDS = ("classifier", "pca")
SIZE = 64  # features of a picture
ROWS = 50_000  # training rows, a fixed random choice
SOME = 10_000  # of these, rows from which components and scales are found
UPDATES = 1200  # about three epochs of MNIST
BATCH = 128
LR = 2e-3


@dataclass(frozen=True)
class Features:
    """A function from pictures [B, C, H, W] to features [B, at most SIZE], with a description for records.

    Over training pictures, features have mean 0 and an average variance of 1, so that distances do not grow with the
    network's weights.
    """

    of: Callable[[Tensor], Tensor]
    name: str


class LeNet(nn.Module):
    """5 x 5 convolutions with ReLU and pooling down to a side of 8 or less, then layers of SIZE features and classes.

    After LeCun et al. 1998, "Gradient-based learning applied to document recognition", but with ReLU and max pooling.
    """

    def __init__(self, shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        blocks: list[nn.Module] = []
        for stage in range(max(1, math.ceil(math.log2(min(height, width) / 8)))):
            blocks += [nn.Conv2d(channels, 16 * 2**stage, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
            channels, height, width = 16 * 2**stage, height // 2, width // 2
        self.convolutions = nn.Sequential(*blocks)
        self.hidden = nn.Linear(channels * height * width, SIZE)
        self.classes = nn.Linear(SIZE, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """The layer before the classes, without its ReLU: [B, SIZE]."""
        hidden: Tensor = self.hidden(self.convolutions(x).flatten(1))
        return hidden

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classes(self.features(x).relu())
        return logits


def features_of(data: DataSet, kind: str | None = None, device: torch.device | str = "cpu") -> Features:
    """Features of a classifier of the data, or principal components if the data have no classes.

    A classifier is trained once, on `train`, with a fixed seed; on several ranks by the first. It is kept in the user's
    cache under a hash of its data and settings.

    Args:
        data: pictures.
        kind: 'classifier' or 'pca'; None takes a classifier if 'train' has 'y'.
        device: where the network is trained and features are computed.

    Raises:
        UserError: the kind is unknown, or a classifier has no labels or no pictures.
    """
    few = whole_batch(data.split("train"), torch.arange(min(64, len(data.split("train")))))
    suits = "y" in few and kind_of(few["y"]) == "classes" and few["x"].dim() == 4 and min(few["x"].shape[-2:]) >= 2
    kind = kind or ("classifier" if suits else "pca")
    if kind not in KINDS:
        raise UserError(choices(kind, KINDS, kind="features"))
    if kind == "pca":
        return _pca(data)
    if not suits:
        raise UserError(f"{type(data).__name__} has no pictures with classes for a classifier: set features=pca")
    kept = once(lambda: _kept(data, few, device))
    with seeded(0):  # initial weights are random
        network = LeNet(tuple(few["x"].shape[1:]), kept["n_classes"]).to(device)
    network.load_state_dict(kept["weights"])
    network.eval().requires_grad_(False)
    split, right, weights = kept["split"], kept["right"], _hash(kept["weights"])
    name = f"LeNet trained here on {type(data).__name__} train, {100 * right:.1f} % of {split} right, weights {weights}"
    return Features(_standard(network.features, kept["mean"].to(device), kept["scale"].to(device)), name)


def _kept(data: DataSet, few: Batch, device: torch.device | str) -> dict[str, Any]:
    """A trained classifier, from the user's cache if it is there."""
    settings = (
        FORMAT,
        type(data).__name__,
        len(data.split("train")),
        SIZE,
        ROWS,
        UPDATES,
        BATCH,
        LR,
        str(torch.device(device)),
    )
    digest = hashlib.sha256(repr(settings).encode())
    for key in ("x", "y"):
        digest.update(few[key].cpu().contiguous().numpy().tobytes())
    file = _cache() / f"{type(data).__name__}-{digest.hexdigest()[:16]}.pt"
    kept: dict[str, Any] | None = None
    with suppress(Exception):  # there is none yet, or it cannot be read: one is trained
        kept = torch.load(file, weights_only=True)
    if kept is None:
        kept = _trained(data, torch.device(device))
        with suppress(OSError):  # the cache cannot be written: trained again next time
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, lambda stream: torch.save(kept, stream))
    return kept


def _trained(data: DataSet, device: torch.device) -> dict[str, Any]:
    source = data.split("train")
    rows = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:ROWS]
    y = torch.cat([source.batch(part)["y"] for part in rows.split(1024)]).cpu()
    n_classes = max(int(y.max()) + 1, data.n_classes or 0)
    with seeded(0), torch.enable_grad():
        network = LeNet(tuple(source.batch(rows[:1])["x"].shape[1:]), n_classes).to(device)
        optimizer = torch.optim.Adam(network.parameters(), LR)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 1 - i / UPDATES)
        order: list[Tensor] = []
        for update in range(UPDATES):
            order = order or list(rows[torch.randperm(len(rows))].split(BATCH))
            batch = whole_batch(source, order.pop(), seed=update, device=device)
            optimizer.zero_grad()
            F.cross_entropy(network(batch["x"]), batch["y"]).backward()
            optimizer.step()
            schedule.step()
    network.eval().requires_grad_(False)
    split = "test" if "test" in data.splits else data.splits[-1]
    found = [
        network(b["x"].to(device)).argmax(1).cpu() == b["y"].cpu() for b in batches(nn.Identity(), data, split, ROWS)
    ]
    mean, scale = _spread([network.features(b["x"].to(device)) for b in batches(nn.Identity(), data, "train", SOME)])
    return {
        "weights": {key: value.cpu() for key, value in network.state_dict().items()},
        "n_classes": n_classes,
        "mean": mean,
        "scale": scale,
        "split": split,
        "right": fraction(torch.cat(found))[0],
    }


def _pca(data: DataSet) -> Features:
    rows = torch.cat([batch["x"].flatten(1) for batch in batches(nn.Identity(), data, "train", SOME)])
    pca = PCA(rows, SIZE)
    of = _standard(lambda x: pca(x.flatten(1).cpu()), *_spread([pca(rows)]))
    return Features(of, f"{pca.directions.shape[1]} principal components of pixels of {type(data).__name__} train")


def _spread(features: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean [D], and the root of the mean variance, shape ()."""
    rows = torch.cat(features).cpu()
    return rows.mean(0), rows.var(0).mean().sqrt().clamp_min(1e-12)


def _standard(of: Callable[[Tensor], Tensor], mean: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: (of(x) - mean) / scale


def _cache() -> Path:
    import pooch  # here and not above: it costs 0.2 s

    return Path(pooch.os_cache("frame")) / "features"


def _hash(weights: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]
