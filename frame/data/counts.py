"""Counts of the user's own, such as reads of genes in cells: a matrix, or an `.h5ad` file of anndata."""

from pathlib import Path
from typing import Any

import numpy as np

from frame.common.errors import UserError, at_least, choices
from frame.data.array_files import chosen, read_arrays
from frame.data.arrays import NAMES, Y, squeezed, words
from frame.data.formats import broken
from frame.data.from_files import FromFiles, Rows
from frame.data.identity import digest
from frame.data.splits import Splitting

X = ("counts", "X", "x", "matrix", "arr_0", "")
GENES = ("genes", "gene_names", "var_names", "features")
SPARSE = {"data", "indices", "indptr", "shape", "format"}  # what scipy.sparse.save_npz writes


class Counts(FromFiles):
    """Rows of counts [N, G] in float32, one for each cell.

    Cells without any count are left out, and a line says so.

    Args:
        train, valid, test: npz, npy and safetensors files, sparse npz files of scipy, `.mtx` of Matrix Market, also
            `.mtx.gz`, or `.h5ad` of anndata; None: rows of 'train' are held out.
        x: the array of counts; in an `.h5ad` file the layer, or None for its X.
        label: the array of labels, or a column of `obs`; None takes one of a usual name if there is one, and none of an
            `.h5ad` file.
        task: 'classes', 'numbers', 'labels' (several a row), or 'auto'.
        transpose: whether the matrix is [G, N], as 10x Genomics writes `.mtx`.
        n_genes: how many genes are kept, those with the largest variance of log(1 + count) on 'train'; None keeps all.
        n_valid, n_test, seed, group, split_by, time, env: see `Splitting`; `group`, `time` and `env` are arrays
            [N], or columns of `obs`.
        data_root, big_data_root: folders that are searched for files.

    Raises:
        UserError: see `FromFiles`; values that are no counts, or splits of other genes.
    """

    kind = "counts"
    row = "cell"

    def __init__(
        self,
        train: str | Path,
        valid: str | Path | None = None,
        test: str | Path | None = None,
        x: str | None = None,
        label: str | None = None,
        task: str = "auto",
        transpose: bool = False,
        n_genes: int | None = None,
        n_valid: float = 0.1,
        n_test: float = 0.1,
        seed: int = 0,
        group: str | None = None,
        split_by: str = "random",
        time: str | None = None,
        env: str | None = None,
        data_root: str | Path = ".",
        big_data_root: str | Path | None = None,
    ) -> None:
        splitting = Splitting(n_valid, n_test, seed, group, split_by, time, env)
        files = {"train": train, "valid": valid, "test": test}
        super().__init__(files, task, splitting, False, data_root, big_data_root)
        at_least(1, n_genes=n_genes)
        self.x, self.label, self.transpose, self.n_genes = x, label, transpose, n_genes
        self.genes: list[str] | None = None  # their names, once they are read
        self._empty = 0

    @property
    def name(self) -> str:
        return "counts"

    @property
    def label_named(self) -> str:
        return f"label '{self.label or 'y'}'"

    def read(self, split: str, given: Any) -> dict[str, Rows]:
        path = self.place(str(given))
        if path.suffix == ".h5ad":
            rows, genes = self._h5ad(path)
        elif path.name.endswith((".mtx", ".mtx.gz")):
            rows, genes = Rows(self._turned(_mtx(path))), None
        else:
            rows, genes = self._arrays(path)
        rows.x = self._checked(rows.x, path)
        if genes is not None and len(genes) != rows.x.shape[1]:
            raise UserError(f"counts: {path} has {rows.x.shape[1]} columns and {len(genes)} names of genes")
        if self.genes is not None and genes is not None and self.genes != genes:
            raise UserError(f"counts: {path} has other genes than 'train', or in another order: give them the same")
        self.genes = self.genes or genes
        empty = rows.x.sum(1) == 0
        self._empty += int(empty.sum())
        return {split: rows.take(np.flatnonzero(~empty)) if empty.any() else rows}

    def _turned(self, x: np.ndarray) -> np.ndarray:
        return x.T if self.transpose else x

    def _arrays(self, path: Path) -> tuple[Rows, list[str] | None]:
        arrays = read_arrays(path, self.name)
        if set(arrays) >= SPARSE:
            return Rows(self._turned(_sparse(path))), None
        x = chosen(arrays, self.x, X, f"counts, {path}")
        if x is None:
            raise UserError(f"counts: {path} has the arrays {', '.join(arrays)}: name the counts by data.x=...")
        y = None if self.label == "none" else chosen(arrays, self.label, Y, f"counts, {path}")
        names, genes = chosen(arrays, None, NAMES, ""), chosen(arrays, None, GENES, "")
        rows = self._turned(arrays[x])
        columns = {
            key: a for key, a in arrays.items() if key not in (x, y, names, genes) and a.ndim and len(a) == len(rows)
        }
        found = Rows(rows, None if y is None else squeezed(arrays[y]), columns, words(arrays[names]) if names else None)
        return found, words(arrays[genes]) if genes else None

    def _h5ad(self, path: Path) -> tuple[Rows, list[str]]:
        try:
            from anndata import read_h5ad
        except ImportError:
            raise UserError("counts: .h5ad files need anndata: pip install 'frame[counts]'") from None
        try:
            found = read_h5ad(path)
        except OSError as error:
            raise broken(path, str(error).splitlines()[0]) from None
        if self.x is not None and self.x not in found.layers:
            raise UserError(f"counts: {choices(self.x, found.layers, kind='layer')} Without data.x it is X ({path})")
        x = found.X if self.x is None else found.layers[self.x]
        if x is None:
            raise UserError(f"counts: {path} has no X: name a layer by data.x={next(iter(found.layers), '...')}")
        y = None
        if self.label not in (None, "none"):
            if self.label not in found.obs:
                raise UserError(
                    f"counts: {path}: {choices(str(self.label), map(str, found.obs), kind='column of obs')}"
                )
            column = found.obs[self.label]
            y = column.to_numpy() if column.dtype.kind in "biuf" else column.astype(object).to_numpy()
        columns = {name: found.obs[name].to_numpy() for name in self.splitting.columns if name in found.obs}
        columns = {name: a.astype(object) if a.dtype.kind not in "biufM" else a for name, a in columns.items()}
        return Rows(_dense(x), y, columns), [str(name) for name in found.var_names]

    def _checked(self, x: np.ndarray, path: Path) -> np.ndarray:
        """Counts in float32."""
        if x.ndim != 2 or x.dtype.kind not in "biuf":
            raise UserError(f"counts: {path} holds {x.dtype} {list(x.shape)}: give counts [cells, genes]")
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise UserError(f"counts: {path} has values that are NaN or infinite: remove these cells")
        if (x < 0).any() or x.dtype.kind == "f" and not (x == np.round(x)).all():
            raise UserError(
                f"counts: {path} has negative numbers or fractions, which are no counts, such as normalised values: "
                "name the array or layer of raw counts by data.x, or take data=arrays"
            )
        return np.ascontiguousarray(x, dtype=np.float32)

    def prepared(self, rows: dict[str, Rows]) -> dict[str, Rows]:
        if self.n_genes is not None and self.n_genes < rows["train"].x.shape[1]:
            variance = np.log1p(rows["train"].x).var(0, dtype=np.float64)
            kept = np.sort(np.argsort(-variance, kind="stable")[: self.n_genes])
            for part in rows.values():
                part.x = np.ascontiguousarray(part.x[:, kept])
            self.genes = None if self.genes is None else [self.genes[i] for i in kept]
        return rows

    def described(self, rows: dict[str, Rows]) -> str:
        sizes = np.concatenate([part.x.sum(1) for part in rows.values()])
        empty = f"; {self._empty} cells without counts left out" if self._empty else ""
        return f"counts of {rows['train'].x.shape[1]} genes, {np.median(sizes):g} a cell in the middle{empty}"

    def identity(self, split: str) -> dict[str, Any]:
        found = super().identity(split)
        return found if self.genes is None else found | {"genes": digest("\n".join(self.genes).encode())}


def _dense(x: Any) -> np.ndarray:
    found: np.ndarray = np.asarray(x.toarray() if hasattr(x, "toarray") else x)
    return found


def _mtx(path: Path) -> np.ndarray:
    from scipy.io import mmread

    try:
        return _dense(mmread(path))
    except (ValueError, OSError) as error:
        raise broken(path, str(error).splitlines()[0]) from None


def _sparse(path: Path) -> np.ndarray:
    from scipy.sparse import load_npz

    try:
        return _dense(load_npz(path))  # without pickle
    except (ValueError, OSError, KeyError) as error:
        raise broken(path, str(error).splitlines()[0]) from None
