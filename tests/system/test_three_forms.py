"""A list of callbacks, a mapping of them, and evaluations by name measure the same."""

import json
from pathlib import Path
from typing import Any

from frame.runs.folder import RunFolder
from tests.processes import Process, only_run

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


def test_three_forms_of_an_experiment_measure_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "config" / "experiment"
    folder.mkdir(parents=True)
    runs: dict[str, Path] = {}
    for form, text in FORMS.items():
        (folder / "mine.yaml").write_text(PARTS + text)
        process = Process(["train", "experiment=mine", f"device.experiments_root={tmp_path / form / 'runs'}"], tmp_path)
        assert process.wait() == 0, process.output
        runs[form] = only_run(tmp_path / form)
    stored = {form: RunFolder(run).stored["callbacks"] for form, run in runs.items()}
    assert stored["mapping"] == stored["evaluations"] and stored["list"] == [*stored["mapping"].values()]
    measured = {form: found(run) for form, run in runs.items()}
    assert {row["name"] for row in measured["list"]["records.jsonl"]} >= {"ELBO/Train", "ELBO/Validation/rate"}
    rows = [row["values"] for row in measured["list"]["metrics.jsonl"]]
    assert sum("ELBO/Validation" in row for row in rows) == 4
    assert sum(name.endswith(".png") for name in measured["list"]) == 2
    assert measured["list"] == measured["mapping"] == measured["evaluations"]
