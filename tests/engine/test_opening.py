"""A run can be opened anywhere; a stranger's run executes nothing."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

import frame
from frame.commands.main import main
from frame.common.errors import UserError
from frame.engine.reevaluate import evaluate_run, retitled
from frame.models.VAE import VAE
from tests.processes import OWN, only_run, python, train
from tests.system.test_releases import RELEASES


@pytest.fixture
def run(averaged_run: Path) -> Path:
    return averaged_run


def test_a_run_is_opened(run: Path) -> None:
    opened = frame.open(run)
    assert opened.status["state"] == "finished"
    assert opened.config.params.beta == 1.0
    assert len(opened.data("test")) == 300
    results = opened.results
    assert set(results[results["name"] == "ELBO/Validation"]["iteration"]) == {0, 10, 20, 30, 40, 50}
    assert {"value", "unit", "split", "n_samples", "estimator", "checkpoint", "seconds"} <= set(results.columns)
    assert "ELBO/Validation" in opened.metrics.columns
    assert isinstance(opened.model, VAE) and not opened.model.training


def test_auto_is_a_gpu_if_there_is_one(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert frame.open(run, device="auto").device == device


def test_the_average_is_loaded_unless_raw_is_asked_for(run: Path) -> None:
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")
    name = "encoder.head.linear.weight"
    average, raw = frame.load(run), frame.load(run, weights="raw")
    assert torch.equal(average.state_dict()[name], state["average"][f"module.{name}"])
    assert torch.equal(raw.state_dict()[name], state["model"][name])
    assert not torch.equal(state["model"][name], state["average"][f"module.{name}"])


def test_parts_are_loaded_and_wrong_ones_named(run: Path) -> None:
    encoder = frame.load(run, "model.encoder")
    assert encoder(torch.zeros(2, 1, 8, 8)).mean.shape == (2, 4)
    with pytest.raises(UserError, match="did you mean 'encoder'"):
        frame.load(run, "model.encodr")
    with pytest.raises(UserError, match=r"takes 'model'"):
        frame.load(run, "encoder")


def test_a_copied_run_opens_in_another_process_elsewhere(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "copied")
    code = "import frame; m = frame.load('copied'); print(type(m).__name__, sum(p.numel() for p in m.parameters()))"
    done = python(code, tmp_path)
    assert done.stdout.startswith("VAE "), done.stderr


def test_a_runs_own_evaluations_on_another_split(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied = Path(shutil.copytree(run, tmp_path / "copied"))
    evaluate_run(copied, evaluate_on="test")
    assert "ELBO/Test" in capsys.readouterr().out
    record = [r for r in frame.open(copied).folder.records if r["name"] == "ELBO/Test"][-1]
    assert record["split"] == "test" and record["n_samples"] == 100 and record["iteration"] == 50
    before = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    after = torch.load(copied / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(torch.equal(before["model"][k], after["model"][k]) for k in before["model"])
    with pytest.raises(UserError, match="no split 'tset'"):
        evaluate_run(copied, evaluate_on="tset")


def test_names_follow_the_split() -> None:
    assert retitled("ELBO/Validation", "test") == "ELBO/Test"
    assert retitled("Accuracy", "test") == "Accuracy/Test"


def strange(run: Path, tmp_path: Path, change: dict[str, Any]) -> Path:
    copied = Path(shutil.copytree(run, tmp_path / "strange"))
    config = OmegaConf.merge(OmegaConf.load(copied / "config.yaml"), change)
    OmegaConf.save(config, copied / "config.yaml")
    return copied


EVIL = {
    "a shell": {"model": {"encoder": {"_target_": "os.system", "command": "touch {file}"}}},
    "torch.hub": {
        "model": {
            "encoder": {"_target_": "torch.hub.load", "repo_or_dir": "{folder}", "model": "evil", "source": "local"}
        }
    },
    "through our own imports": {
        "model": {"encoder": {"_target_": "frame.runs.folder.subprocess.run", "args": "{file}"}}
    },
    "a function of torch.nn": {"model": {"encoder": {"_target_": "torch.nn.functional.os.system", "command": "x"}}},
    "no network": {"model": {"encoder": {"_target_": "frame.common.files.write_text", "path": "{file}", "text": "x"}}},
    "a class that acts": {"model": {"encoder": {"_target_": "frame.runs.folder.RunFolder", "path": "{file}"}}},
    "an untrusted package": {"model": {"encoder": {"_target_": "toys.Duel", "n_in": 3}}},
    "behind a reference": {
        "model": {"encoder": "${{elsewhere}}"},
        "elsewhere": {"_target_": "os.system", "command": "touch {file}"},
    },
    "deep in an argument": {
        "model": {"decoder": {"distribution": {"_target_": "torch.load", "f": "{file}", "weights_only": False}}}
    },
}


def filled(value: Any, **names: str) -> Any:
    if isinstance(value, dict):
        return {key: filled(inner, **names) for key, inner in value.items()}
    return value.format(**names) if isinstance(value, str) else value


@pytest.mark.parametrize("name", EVIL)
def test_a_strangers_config_executes_nothing(name: str, run: Path, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    hub = tmp_path / "hub"
    hub.mkdir()
    (hub / "hubconf.py").write_text(f"open({str(proof)!r}, 'w')\ndef evil(): ...\n")
    copied = strange(run, tmp_path, filled(EVIL[name], file=str(proof), folder=str(hub)))
    with pytest.raises(UserError, match="not trusted|not built"):
        _ = frame.open(copied).model
    assert not proof.exists()


def act(file: Path) -> dict[str, Any]:
    """A node that would run a command with functions of frame itself."""
    places = {"cwd": "/", "log": str(file), "worker": str(file)}
    return {"_target_": "frame.sweeps.handles.run_here", "argv": ["touch", str(file)], **places}


def inline(node: dict[str, Any]) -> str:
    return json.dumps(node).replace('"', "").replace(" ", "")


Change = Callable[[Path], dict[str, Any]]
HIDDEN: dict[str, Change] = {
    "behind an escape": lambda f: {
        "model.encoder.z_dim": rf"\${{oc.create:{yaml.safe_dump(act(f), default_flow_style=True)}}}"
    },
    "behind two escapes": lambda f: {"model.encoder.z_dim": r"\\\${oc.create:{_target_:os.getcwd}}"},
    "oc.create": lambda f: {"model.encoder.z_dim": "${oc.create:{_target_:os.getcwd}}"},
    "oc.decode": lambda f: {"model.encoder.z_dim": "${oc.decode:'{_target_:os.getcwd}'}"},
    "oc.select": lambda f: {"elsewhere": act(f), "model.encoder": "${oc.select:elsewhere}"},
    "in device": lambda f: {"device.x": act(f), "model.encoder": "${device.x}"},
    "in device, deeper": lambda f: {"device.x": {"y": [act(f)]}, "model.encoder.layers": "${device.x.y}"},
    "in a list": lambda f: {"model.encoder.layers": [act(f)]},
    "deep in lists": lambda f: {"model.encoder.layers": [[[[{"a": [act(f)]}]]]]},
    "as an argument by position": lambda f: {"model.encoder._args_": [act(f)]},
    "partially": lambda f: {"model.encoder": {**act(f), "_partial_": True}},
    "not recursively": lambda f: {"model.encoder._recursive_": False, "model.encoder.layers": [act(f)]},
    "converted": lambda f: {"model.encoder._convert_": "all", "model.encoder.layers": [act(f)]},
    "a target that is a node": lambda f: {"model.encoder._target_": act(f)},
    "a target that is a list": lambda f: {"model.encoder._target_": ["os.system"]},
    "no target": lambda f: {"model.encoder._target_": None},
    "dots": lambda f: {"model.encoder._target_": "frame.models..VAE"},
    "a line break": lambda f: {"model.encoder._target_": "frame.models.VAE.VAE\nos"},
    "a long name": lambda f: {"model.encoder._target_": "frame.models." + "x" * 10_000},
    "through imports": lambda f: {"model.encoder._target_": "frame.engine.opening.importlib.import_module"},
    "through imports of a trusted module": lambda f: {"model.encoder._target_": "frame.data.base.torch.hub.load"},
    "through imports of torch": lambda f: {"model.encoder._target_": "torch.nn.modules.module.torch.hub.load"},
    "an imported class": lambda f: {"model.encoder._target_": "frame.evaluation.base.Path"},
    "a function of a trusted module": lambda f: {"model.encoder._target_": "frame.data.formats.read_pickle"},
    "a method": lambda f: {"model.encoder._target_": "torch.nn.Embedding.from_pretrained"},
    "a logger": lambda f: {"model.encoder": {"_target_": "frame.loggers.files.FilesLogger", "folder": str(f)}},
    "a callback": lambda f: {"model.encoder._target_": "frame.callbacks.EvaluationCallback"},
    "a class that starts threads": lambda f: {"model.encoder": {"_target_": "torch.nn.DataParallel", "module": None}},
    "a list of models": lambda f: {"model": [act(f)]},
    "no model": lambda f: {"model": None},
}


@pytest.mark.parametrize("name", HIDDEN)
def test_the_checked_values_are_built(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof = tmp_path / "executed"
    run = Path(shutil.copytree(RELEASES[-1], tmp_path / "strange"))
    config: Any = yaml.safe_load((run / "config.yaml").read_text())
    for key, value in HIDDEN[name](proof).items():
        *above, last = key.split(".")
        node = config
        for part in above:
            node = node.setdefault(part, {})
        node[last] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match="not trusted|not built|cannot be built") as caught:
        _ = frame.open(run).model
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 400
    assert isinstance(frame.open(run).config.device.gpus, str) and main(["show", str(run)]) in (0, 2)
    assert main(["evaluate", str(run)]) == 2 and main(["export", str(run), f"out={tmp_path}/e"]) == 2
    assert not proof.exists() and not (tmp_path / "e").exists()


def test_nothing_prints_a_variable_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a-secret-key")
    monkeypatch.setenv("DATA_ROOT", "a-secret-place")
    monkeypatch.chdir(tmp_path)
    for n in range(2):
        run = Path(shutil.copytree(RELEASES[-1], tmp_path / "runs" / f"run{n}"))
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["params"] |= {"a": "${oc.env:WANDB_API_KEY}", "b": f"${{device.data_root}}{n}", "c": f"${{device.k}}{n}"}
        config["device"]["k"] = config["seed"] = config["experiment_name"] = "${oc.env:WANDB_API_KEY}"
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    for words in (
        ["list", "runs", "columns=[run,params.a,params.b,params.c,seed,device.k,device.data_root]"],
        ["show", "runs"],
        ["compare", "runs", "rows=[params.b,params.c]", "metrics=[ELBO/Validation]", "out=t.csv"],
        ["plot", "runs", "x=params.b", "y=ELBO/Validation", "out=f.svg"],
        ["report", "runs", "out=r.html"],
        ["evaluate", "runs/run0", "evaluation=[elbo]"],
        ["export", "runs/run0"],
    ):
        main(words)
        said = capsys.readouterr()
        assert "a-secret" not in said.out + said.err, words
    print(frame.results("runs").to_csv(), frame.open("runs/run0").config.params)
    said = capsys.readouterr()
    assert "a-secret-key" not in said.out
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not [file for file in written if b"a-secret-key" in file.read_bytes()]


def test_a_run_fetches_nothing_to_a_place_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    run = Path(shutil.copytree(RELEASES[-1], tmp_path / "strange"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    fetched = {"_target_": "frame.data.MNIST.MNIST", "download_files": True}
    for place, fetches in ((tmp_path / "data" / "below", True), (tmp_path / "elsewhere", False), ("~/x", False)):
        node = {"_target_": "frame.data.views.Views", "data": {**fetched, "data_root": str(place)}, "augmentations": {}}
        (run / "config.yaml").write_text(yaml.safe_dump({**config, "data": node}))
        data: Any = frame.open(run).data_set
        assert data.data.download_files is fetches


def test_a_runs_own_evaluations_open_no_other_run(tmp_path: Path) -> None:
    run = Path(shutil.copytree(RELEASES[-1], tmp_path / "strange"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    evaluator = {"_target_": "frame.evaluation.similarity.SimilarityEvaluation", "other": str(RELEASES[-1])}
    config["callbacks"] = {"s": {"name": "S", "evaluator": evaluator}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"evaluate RUN evaluation=\[similarity\]"):
        evaluate_run(run)


def test_a_strangers_data_and_evaluations_execute_nothing(run: Path, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    copied = strange(run, tmp_path, {"data": {"_target_": "os.system", "command": f"touch {proof}"}})
    with pytest.raises(UserError, match="not trusted"):
        frame.open(copied).data("test")
    evil = {"callbacks": {"elbo_valid": {"evaluator": {"_target_": "subprocess.run", "args": f"touch {proof}"}}}}
    shutil.rmtree(copied)
    with pytest.raises(UserError, match="not trusted"):
        evaluate_run(strange(run, tmp_path, evil))
    assert not proof.exists()


def test_a_pickled_checkpoint_executes_nothing(run: Path, tmp_path: Path) -> None:
    proof = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {proof}",)

    copied = Path(shutil.copytree(run, tmp_path / "strange"))
    for save in (lambda f: torch.save({"model": Evil()}, f), lambda f: f.write_bytes(pickle.dumps(Evil(), protocol=2))):
        save(copied / "checkpoints" / "last.ckpt")
        (copied / "checkpoints" / "previous.ckpt").unlink(missing_ok=True)
        with pytest.raises(UserError, match="cannot be read"):
            _ = frame.open(copied).model
    assert not proof.exists()


def test_a_package_that_the_caller_lists_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = train(["experiment=duel", "train_for=5 iterations"], tmp_path)
    assert code == 0, output
    monkeypatch.syspath_prepend(str(OWN))
    assert type(frame.load(only_run(tmp_path))).__name__ == "Duel"  # its folder is trusted, since it was trained in it
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another user"))
    with pytest.raises(UserError, match=r"frame trust .*packages=\['toys'\]"):
        frame.load(only_run(tmp_path))
    assert type(frame.load(only_run(tmp_path), packages=["toys"])).__name__ == "Duel"


def test_a_run_without_a_checkpoint_says_so(run: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(run, tmp_path / "early"))
    shutil.rmtree(copied / "checkpoints")
    with pytest.raises(UserError, match="no last checkpoint yet"):
        _ = frame.open(copied).model
    with pytest.raises(UserError, match="no run in"):
        frame.open(copied / "tensorboard")


def test_weights_of_another_version_are_named(run: Path, tmp_path: Path) -> None:
    copied = strange(run, tmp_path, {"model": {"encoder": {"layers": [16]}}})
    with pytest.raises(UserError, match=r"do not fit its model as the code is now .*code\.json") as caught:
        _ = frame.open(copied).model
    assert len(str(caught.value).splitlines()) == 1
