"""A list of callbacks, a mapping of them, and evaluations by name measure the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from frame.composition.compose import compose
from frame.composition.folders import OwnFolder
from frame.engine.experiment import train
from frame.runs.folder import RunFolder
from tests.processes import only_run

PARTS = """\
# @package _global_
defaults:
  - /model: VAE
  - /data: digits
  - /optimization: batch_ADAM
  - override /logging: [csv]
data: {binarize: dynamic}
architectures:
  prior: {_target_: frame.architectures.base.DiagonalNormal, z_dim: 4}
  encoder: {_target_: frame.architectures.base.MLPEncoder, shape: [1, 8, 8], z_dim: 4, layers: [16]}
  decoder: {_target_: frame.architectures.base.MLPDecoder, shape: [1, 8, 8], z_dim: 4, layers: [16]}
params: {beta: 1.0, lr: 1e-3, batch_size: 64}
train_for: 12 iterations
"""
NODES = {
    "elbo_train": """
    _target_: frame.callbacks.EvaluationCallback
    name: ELBO/Train
    evaluate_every: 5 iterations
    evaluator: {_target_: frame.evaluation.elbo.ELBOEvaluation, evaluate_on: train, n_samples: 128}
""",
    "elbo_valid": """
    _target_: frame.callbacks.EvaluationCallback
    name: ELBO/Validation
    evaluate_every: 5 iterations
    evaluator: {_target_: frame.evaluation.elbo.ELBOEvaluation, evaluate_on: valid, n_samples: 128}
""",
    "reconstruction_valid": """
    _target_: frame.callbacks.EvaluationCallback
    name: ImageReconstruction/Validation
    evaluate_every: end
    evaluator:
      _target_: frame.evaluation.reconstruction.ImageReconstructionQualitativeEvaluation
      evaluate_on: valid
      n_pictures: 10
      sample_images: False
      sample_latents: False
""",
    "samples": """
    _target_: frame.callbacks.EvaluationCallback
    name: Samples
    evaluate_every: end
    evaluator: {_target_: frame.evaluation.samples.ImageSampleEvaluation, n_pictures: 9, sample_images: False}
""",
}
NAMED = """\
evaluations:
  elbo: {every: 5 iterations, on: [train, valid], n_samples: 128}
  reconstruction: {n_pictures: 10}
  samples: {n_pictures: 9}
"""
FORMS = {
    "list": "callbacks:\n" + "".join("  - " + node.lstrip() for node in NODES.values()),
    "mapping": "callbacks:\n" + "".join(f"  {key}:{node}" for key, node in NODES.items()),
    "evaluations": NAMED,
}


def found(run: Path) -> dict[str, Any]:
    """All that a run measured and drew, without what the clock says."""
    lines = {name: (run / name).read_text().splitlines() for name in ("metrics.jsonl", "records.jsonl")}
    apart = ("seconds", "took", "evaluation", "together")
    plain = {name: [json.loads(line) for line in text] for name, text in lines.items()}
    kept = {name: [{k: v for k, v in row.items() if k not in apart} for row in rows] for name, rows in plain.items()}
    pictures = {str(file.relative_to(run)): file.read_bytes() for file in run.glob("images/**/*.png")}
    return {**kept, **pictures}


def test_three_forms_of_an_experiment_measure_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnFolder, "folder", tmp_path)
    (tmp_path / "experiment").mkdir()
    runs: dict[str, Path] = {}
    for form, text in FORMS.items():
        (tmp_path / "experiment" / "mine.yaml").write_text(PARTS + text)
        words = ["experiment=mine", f"device.experiments_root={tmp_path / form / 'runs'}"]
        assert train(compose(words), words) == 0
        runs[form] = only_run(tmp_path / form)
    stored = {form: RunFolder(run).stored["callbacks"] for form, run in runs.items()}
    assert stored["mapping"] == stored["evaluations"] and stored["list"] == [*stored["mapping"].values()]
    measured = {form: found(run) for form, run in runs.items()}
    assert {row["name"] for row in measured["list"]["records.jsonl"]} >= {"ELBO/Train", "ELBO/Validation/rate"}
    rows = [row["values"] for row in measured["list"]["metrics.jsonl"]]
    assert sum("ELBO/Validation" in row for row in rows) == 4
    assert sum(name.endswith(".png") for name in measured["list"]) == 2
    assert measured["list"] == measured["mapping"] == measured["evaluations"]
