"""Counts from matrices of several formats, with labels and names of genes; what is no count is refused."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch

from frame.common.errors import UserError
from frame.data.counts import Counts

X = np.random.RandomState(0).poisson(2, (60, 7)).astype(np.int32)
GENES = np.array([f"g{i}" for i in range(7)])
Y = np.arange(60) % 2


def whole(data: Counts) -> Any:
    return data.split("train").batch(torch.arange(len(data.split("train"))))["x"]


def test_every_format_holds_the_same_counts(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", counts=X, labels=Y, genes=GENES, classes=np.array(["B", "T"]))
    np.save(tmp_path / "a.npy", X)
    scipy.sparse.save_npz(tmp_path / "sparse.npz", scipy.sparse.csr_matrix(X))
    scipy.io.mmwrite(tmp_path / "a.mtx", scipy.sparse.coo_matrix(X.T))
    for name, transpose in (("a.npz", False), ("a.npy", False), ("sparse.npz", False), ("a.mtx", True)):
        data = Counts(name, transpose=transpose, n_valid=0, n_test=0, data_root=tmp_path)
        assert torch.equal(whole(data), torch.from_numpy(X).float()) and data.row == "cell"
    data = Counts(tmp_path / "a.npz")
    assert data.classes == ["B", "T"] and data.keys == ("x", "y") and data.shape == (7,)
    assert data.genes == GENES.tolist()


def test_files_of_anndata(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    pandas = pytest.importorskip("pandas")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the option is deprecated by a newer pandas
        pandas.set_option("future.infer_string", False)
        kinds = pandas.Categorical(np.array(["B", "T"])[Y])
        obs = pandas.DataFrame({"kind": kinds, "donor": [f"d{i // 6}" for i in range(60)]}, [str(i) for i in range(60)])
        made = anndata.AnnData(np.log1p(X).astype(np.float32), obs=obs, var=pandas.DataFrame(index=GENES))
        made.layers["raw"] = scipy.sparse.csr_matrix(X)
        made.write_h5ad(tmp_path / "a.h5ad")
        pandas.set_option("future.infer_string", True)
    data = Counts(tmp_path / "a.h5ad", x="raw", label="kind", group="donor")
    assert data.classes == ["B", "T"] and data.genes == GENES.tolist()
    donors = {split: set(part.columns["donor"]) for split, part in data._found.items()}
    assert not donors["train"] & donors["test"]
    with pytest.raises(
        UserError, match="fractions, which are no counts, such as normalised values: name the array or layer"
    ):
        Counts(tmp_path / "a.h5ad").split("train")
    with pytest.raises(UserError, match="no layer 'row': did you mean 'raw'"):
        Counts(tmp_path / "a.h5ad", x="row").split("train")
    with pytest.raises(UserError, match="no column of obs 'knd': did you mean 'kind'"):
        Counts(tmp_path / "a.h5ad", x="raw", label="knd").split("train")
    (tmp_path / "b.h5ad").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is broken"):
        Counts(tmp_path / "b.h5ad").split("train")


def test_genes_of_the_largest_variance_and_cells_without_counts(tmp_path: Path, capsys: Any) -> None:
    x = X.copy()
    x[:, 2], x[5] = np.arange(60) * 3, 0
    np.savez(tmp_path / "a.npz", counts=x, genes=GENES)
    data = Counts(tmp_path / "a.npz", n_genes=2, n_valid=0, n_test=0)
    assert whole(data).shape == (59, 2) and data.genes is not None and "g2" in data.genes
    assert "; 1 cells without counts left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"counts": X - 3}, "negative numbers or fractions"),
        ({"counts": np.full((4, 3), np.nan)}, "NaN or infinite"),
        ({"counts": X[:, :, None]}, r"give counts \[cells, genes\]"),
        ({"counts": X, "genes": GENES[:3]}, "7 columns and 3 names of genes"),
        ({"a": X, "b": X}, "name the counts by data.x"),
    ],
)
def test_what_is_no_count_is_refused(tmp_path: Path, content: dict[str, Any], says: str) -> None:
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(UserError, match=says):
        Counts(tmp_path / "a.npz").split("train")


def test_splits_of_other_genes_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", counts=X, genes=GENES)
    np.savez(tmp_path / "b.npz", counts=X, genes=GENES[::-1])
    with pytest.raises(UserError, match="other genes than 'train', or in another order"):
        Counts(tmp_path / "a.npz", test=tmp_path / "b.npz").split("train")
