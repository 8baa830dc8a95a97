"""Errors that the dry run on a tiny batch finds before a run has a folder."""

from pathlib import Path

import numpy as np
import pytest

from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.engine.experiment import build

FEW = (
    "++callbacks.few={_target_: frame.callbacks.EvaluationCallback, name: Few, evaluate_every: end, evaluator: "
    "{_target_: frame.evaluation.few_labels.FewLabelsEvaluation, evaluate_on: valid, labels_per_class: [10]}}"
)


@pytest.mark.parametrize(
    ("monitor", "meant"),
    [
        ("ELBO/Validation/rate", ""),
        ("ELBO/Validation/rat", "ELBO/Validation/rate"),
        ("Few/10_per_class/floor/pca", ""),
        ("Few/1_per_class", "Few/10_per_class"),
        ("Samples", "none"),  # a picture has no number
    ],
)
def test_a_monitor_needs_a_number_that_an_evaluation_declares(monitor: str, meant: str) -> None:
    """Even if the dry run's four rows give no number, because they do not have ten labels of each class."""
    words = ["experiment=digits_VAE", "logging=csv", FEW, f"checkpoint.best={monitor}"]
    if not meant:
        build(compose(words))
        return
    with pytest.raises(UserError, match=f"checkpoint.best: no measurement '{monitor}'") as error:
        build(compose(words))
    assert meant == "none" or f"did you mean '{meant}'?" in str(error.value)


@pytest.mark.parametrize("rows", [1, 1296])
def test_a_batch_of_one_row_is_refused_where_rows_are_compared(rows: int) -> None:
    """1,297 rows in batches of 1,296 leave one row for the last batch."""
    words = ["model=SimCLR", "data=views", "logging=csv", f"params.batch_size={rows}"]
    with pytest.raises(UserError, match="SimCLR compares the rows .* a batch of 1: change params.batch_size"):
        build(compose(words))
    build(compose(["model=VAE", "data=digits", "logging=csv", f"params.batch_size={rows}"]))
    build(compose([*words, "+trainer.limit_train_batches=1"] if rows > 1 else [*words[:3], "params.batch_size=1295"]))


@pytest.mark.parametrize(("shape", "encoder"), [((20, 64), "mlp"), ((20, 3, 32), "temporal")])
def test_whole_numbers_for_a_network_of_floats_are_named(
    shape: tuple[int, ...], encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", np.arange(np.prod(shape)).reshape(shape) % 7)
    words = ["model=AE", "data=npy", f"data.train={tmp_path / 'x.npy'}", f"architectures/encoder={encoder}"]
    with pytest.raises(UserError) as refused:
        build(compose([*words, "params.batch_size=4", "callbacks=null"]))
    said = str(refused.value)
    assert "takes floats, and x [4, " in said and "holds whole numbers: store measurements as floats" in said
    assert "\n" not in said
