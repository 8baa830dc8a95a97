"""`frame map`: the codes of a run in a viewer that others keep, with labels, pictures and the run's records."""

import importlib.util
import io
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from frame.common.errors import UserError, at_least
from frame.common.inside import name_of
from frame.common.output import say
from frame.data.base import class_names
from frame.engine.opening import OpenRun
from frame.evaluation.base import is_picture
from frame.evaluation.codes import LAYERS
from frame.evaluation.scatter import PCAScatterEvaluation, UMAPScatterEvaluation
from frame.measures.geometry import finite
from frame.sharing.codes import BATCH, check_layer, coded

VIEWERS = ("atlas", "tensorboard")
SIDE = 64  # pixels of a picture, at most
SMALLEST = 32  # and at least, in the atlas
SPRITE = 8192  # pixels of the side of TensorBoard's sheet of pictures, at most


@dataclass(frozen=True)
class Rows:
    """What a map shows of N rows."""

    split: list[str]
    index: Tensor  # [N], positions in the split
    codes: Tensor  # [N, D], float32
    label: list[str] | None  # classes by name, or what else 'y' is
    pictures: Tensor | None  # [N, 3, H, W], uint8


def write_map(
    run: OpenRun,
    out: Path | None = None,
    *,
    viewer: str = "",
    on: Sequence[str] | None = None,
    layer: str = "mean",
    n_samples: int = 10_000,
    projection: str = "",
    batch_size: int = BATCH,
) -> tuple[Path, list[str]]:
    """Writes a map's folder, completely or not at all; returns it and the command that shows it, as words.

    Args:
        run: the run.
        out: the folder; by default maps/<experiment>_<the run's name>.
        viewer: 'atlas', Embedding Atlas, if it is installed; else 'tensorboard', its projector.
        on: splits; None takes test, or the first if there is none.
        layer: of the code, see `frame.encode`.
        n_samples: rows of each split, a fixed random subset of larger ones.
        projection: 'umap' if it is installed, else 'pca'; TensorBoard computes its own.
        batch_size: rows that are encoded at once.

    Raises:
        UserError: the folder exists, the viewer or UMAP is not installed, the run has no such split or layer, or a
            code is not finite.
    """
    at_least(2, n_samples=n_samples)
    viewer = viewer or ("atlas" if _installed("embedding_atlas") else "tensorboard")
    if viewer == "atlas" and not _installed("embedding_atlas"):
        raise UserError("viewer=atlas needs Embedding Atlas: pip install embedding-atlas, or take viewer=tensorboard")
    name = f"{name_of(str(run.config.get('experiment_name')))}_{name_of(run.folder.path.resolve().name)}"
    out = out or Path("maps") / name
    if out.exists():
        raise UserError(f"{out} exists, and nothing is overwritten: choose another, out=...")
    rows = _read(run, on, layer, n_samples, batch_size)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        if viewer == "atlas":
            _write_atlas(temporary, run, rows, projection)
        else:
            _write_projector(temporary, run, rows, layer)
        temporary.chmod(0o755)
        os.rename(temporary, out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return out, _command(out, viewer)


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _command(folder: Path, viewer: str) -> list[str]:
    if viewer == "tensorboard":
        return ["tensorboard", "--logdir", str(folder)]
    records = folder / "records.parquet"
    words = ["embedding-atlas", str(folder / "codes.parquet"), "--x", "x", "--y", "y", "--image", "picture"]
    return words + (["--table", "records", str(records)] if records.exists() else [])


def here(words: Sequence[str]) -> list[str]:
    """The same command in this Python."""
    modules = {"tensorboard": "tensorboard.main", "embedding-atlas": "embedding_atlas.cli"}
    return [sys.executable, "-m", modules[words[0]], *words[1:]]


def _read(run: OpenRun, on: Sequence[str] | None, layer: str, n_samples: int, batch_size: int) -> Rows:
    check_layer(run, layer)
    known = run.data_set.splits
    splits = [*on] if on else ["test" if "test" in known else known[0]]
    names, found = class_names(run.data_set), []
    for split in splits:
        n = len(run.data(split))
        chosen = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:n_samples].sort().values
        for batch, code in coded(run.model, run.data_set, split, LAYERS[layer][1], chosen, batch_size):
            shown = _small(batch["x"]) if is_picture(batch["x"]) else None
            y = batch.get("y")
            found.append((split, batch["index"].cpu(), code.cpu(), None if y is None else _labels(y, names), shown))
    if not found:
        raise UserError(f"{run.folder.path}: there are no rows to show")
    split_of, index, codes, labels, pictures = zip(*found, strict=True)
    return Rows(
        [name for name, rows in zip(split_of, index, strict=True) for _ in rows],
        torch.cat(index),
        finite(torch.cat(codes)).float(),
        None if None in labels else [label for part in labels for label in part],
        None if any(part is None for part in pictures) else torch.cat(pictures),
    )


def _labels(y: Tensor, names: Sequence[str] | None) -> list[str]:
    whole = y.dim() == 1 and not y.is_floating_point()
    known = range(len(names)) if names is not None and whole else ()
    return [str(names[v]) if names is not None and whole and v in known else str(v) for v in y.tolist()]


def _small(x: Tensor) -> Tensor:
    """Pictures [B, C, H, W] in [0, 1] as [B, 3, H', W'] uint8, of at most SIDE pixels."""
    side = max(x.shape[-2:])
    if side > SIDE:
        x = F.interpolate(x, scale_factor=SIDE / side, mode="area")
    return (x.clamp(0, 1).expand(-1, 3, -1, -1) * 255).round().to(torch.uint8).cpu()


def _write_atlas(folder: Path, run: OpenRun, rows: Rows, projection: str) -> None:
    """codes.parquet, with coordinates x and y and pictures as PNG, and records.parquet."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    projection = projection or ("umap" if _installed("umap") else "pca")
    placing = UMAPScatterEvaluation() if projection == "umap" else PCAScatterEvaluation()
    x, y = placing.placed(rows.codes)[0].double().numpy().T
    columns: dict[str, Any] = {"x": x, "y": y, "split": rows.split, "index": rows.index.numpy()}
    if rows.label is not None:
        columns["label"] = rows.label
    if rows.pictures is not None:
        columns["picture"] = pa.array([{"bytes": _png(picture)} for picture in rows.pictures])
    parquet.write_table(pa.table(columns), folder / "codes.parquet")
    records = run.results
    if len(records):
        told = [key for key in RECORD if key in records]
        records[told].to_parquet(folder / "records.parquet", index=False)


RECORD = ("name", "value", "unit", "split", "layer", "estimator", "n_samples", "checkpoint", "iteration")


def _png(picture: Tensor) -> bytes:
    """A picture [3, H, W]; a very small one is enlarged by a whole factor, without smoothing."""
    factor, content = math.ceil(SMALLEST / min(picture.shape[1:])), io.BytesIO()
    shown = picture.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    Image.fromarray(shown.permute(1, 2, 0).numpy()).save(content, "PNG")
    return content.getvalue()


def _write_projector(folder: Path, run: OpenRun, rows: Rows, layer: str) -> None:
    """TensorBoard's files: vectors, labels, a sheet of pictures, and the records as a text."""
    from torch.utils.tensorboard.writer import SummaryWriter

    columns = {"label": rows.label} if rows.label is not None else {}  # first, so that points are labelled by it
    columns |= {"split": rows.split, "index": [str(i) for i in rows.index.tolist()]}
    told = [[*row] for row in zip(*columns.values(), strict=True)]
    with SummaryWriter(str(folder)) as writer:
        writer.add_embedding(
            rows.codes, metadata=told, metadata_header=[*columns], label_img=_sheet(rows.pictures), tag=f"codes_{layer}"
        )
        records = run.results
        if len(records):
            kept = [key for key in RECORD if key in records]
            writer.add_text("records", records[kept].to_markdown(index=False))


def _sheet(pictures: Tensor | None) -> Tensor | None:
    """Square pictures [N, 3, S, S] in [0, 1], so small that all of them fit on a sheet."""
    if pictures is None:
        return None
    height, width = pictures.shape[-2:]
    side, most = max(height, width), SPRITE // math.ceil(math.sqrt(len(pictures)))
    above, left = (side - height) // 2, (side - width) // 2
    padded = F.pad(pictures.float() / 255, (left, side - width - left, above, side - height - above))
    if most < 1:
        say(f"{len(pictures)} rows are too many for a sheet of pictures: none is shown; set n_samples")
        return None
    return padded if side <= most else F.interpolate(padded, size=(most, most), mode="area")
