"""`frame export`: the same model elsewhere, without data of this machine, and no code that runs without consent."""

import json
import py_compile
import re
import shlex
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import frame
from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.folders import OwnFolder
from frame.engine.experiment import resume
from frame.engine.reevaluate import evaluate_run
from frame.evaluation.base import given
from frame.sharing.encoder import Rows, export_encoder
from frame.sharing.export import export, option_of
from frame.sharing.private import Private
from tests.models.test_every_model import CASES, build
from tests.processes import OWN, Process, only_run, python
from tests.slow import slow_but

ROOT = Path(__file__).parents[2]
USER = "janedoe"


def command(cwd: Path, *words: str, **environment: str) -> tuple[int, str]:
    process = Process(words, cwd, **environment)
    return process.wait(), process.output


@pytest.fixture
def run(averaged_run: Path) -> Path:
    return averaged_run


@pytest.fixture(scope="module")
def exported(averaged_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export by the command, for a user with a known name and home."""
    home = tmp_path_factory.mktemp(USER)
    words = ["--config-dir", str(OWN / "config"), "format=onnx", "out=shared"]
    code, output = command(home, "export", str(averaged_run), *words, HOME=str(home), USER=USER, LOGNAME=USER)
    assert code == 0, output
    assert "encoder.onnx: differs by at most" in output and "variable  FRAME_CALLBACKS_WITNESS_FILE" in output
    return home / "shared"


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copied"))


def pictures(n: int = 5) -> torch.Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("weights", ["average", "raw"])
@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_weights_and_outputs_are_the_same_bits(
    checkpoint: str, weights: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(OWN))
    written = export(run, out=tmp_path / "out", checkpoint=checkpoint, weights=weights)
    ours = frame.load(run, checkpoint=checkpoint, weights=weights)
    theirs = frame.load(written)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())
    x = pictures()
    assert torch.equal(ours.encode(x).mean, theirs.encode(x).mean)  # type: ignore[operator]
    assert torch.equal(ours.reconstruct(x), theirs.reconstruct(x))  # type: ignore[operator]
    opened = frame.open(written)
    assert (opened.checkpoint, opened.weights) == (checkpoint, weights)
    other = "raw" if weights == "average" else "average"
    with pytest.raises(UserError, match=f"holds the {weights} weights only"):
        frame.open(written, weights=other)
    if checkpoint == "last":
        with pytest.raises(UserError, match="holds the last checkpoint only"):
            frame.open(written, checkpoint="best")


def test_only_weights_and_no_pickle(exported: Path, run: Path) -> None:
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert load_file(exported / "model.safetensors").keys() == state["model"].keys()
    files = {file.relative_to(exported).as_posix() for file in exported.rglob("*") if file.is_file()}
    expected = {"README.md", "config.yaml", "export.json", "status.json", "records.jsonl", "metrics.csv", "data.json"}
    expected |= {"model.safetensors", "encoder.onnx", "source/toys.py", "source/config/experiment/tiny.yaml"}
    assert files == expected


def test_nothing_names_this_machine(exported: Path, run: Path) -> None:
    names = [USER, socket.gethostname(), str(exported.parent), str(run.parents[2]), str(ROOT), sys.prefix, str(OWN)]
    content = {file: file.read_bytes() for file in exported.rglob("*") if file.is_file()}
    assert str(run.parents[2]) in (run / "config.yaml").read_text()
    for file, raw in content.items():
        for name in names:
            assert name.encode() not in raw, f"{name} in {file}"
    config = yaml.safe_load((exported / "config.yaml").read_text())
    assert config["callbacks"]["witness"]["file"] == "${oc.env:FRAME_CALLBACKS_WITNESS_FILE}"
    assert config["device"]["experiments_root"] == "./runs" and config["logging"] is None


def test_paths_in_a_config() -> None:
    device = {"data_root": "/big/disk", "experiments_root": "/home/me/runs", "scratch": "/scratch"}
    config = {
        "device": device,
        "logging": {"wandb": {"entity": "me"}},
        "data": {"root": "/big/disk/MNIST", "root_itself": "/big/disk", "url": "https://a.org/b", "n": 3},
        "callbacks": [{"file": "~/x"}, {"file": "relative/x", "share": "a/b"}],
    }
    clean, variables = Private().config(config, "/big/disk")
    assert (
        clean["data"]["root"] == "${device.data_root}/MNIST" and clean["data"]["root_itself"] == "${device.data_root}"
    )
    assert clean["data"]["url"] == "https://a.org/b" and clean["data"]["n"] == 3
    assert clean["callbacks"] == [{"file": "${oc.env:FRAME_CALLBACKS_0_FILE}"}, {"file": "relative/x", "share": "a/b"}]
    assert clean["device"]["scratch"] == "${oc.env:FRAME_DEVICE_SCRATCH}"
    assert clean["device"]["data_root"] == "${oc.env:DATA_ROOT,./data}" and clean["logging"] is None
    assert variables == {"FRAME_DEVICE_SCRATCH": "device.scratch", "FRAME_CALLBACKS_0_FILE": "callbacks.0.file"}


def test_names_of_this_machine_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "janed")
    monkeypatch.setattr(socket, "gethostname", lambda: "orchard7.lab")
    private = Private(["/data/of/mine"])
    for text in ("by janed", "/home/janed/x", "at orchard7", "see /data/of/mine/a.npz", f"in {ROOT}/frame"):
        assert private.found(text), text
        assert private.found(private.without(text)) is None
    for text in ("janedoe", "orchard77", "/data/of", "latent", ""):
        assert private.found(text) is None, text
    for name in ("root", "data"):  # they are common names
        monkeypatch.setenv("LOGNAME", name)
        assert Private().found("the root of all data") is None
    private = Private(["/data"])
    assert private.found("in /data/x") and private.found("https://a.org/data/x") is None


def test_the_card_has_every_number_with_its_protocol(exported: Path, run: Path) -> None:
    card = (exported / "README.md").read_text()
    lines = [line for line in card.splitlines() if line.startswith("| ELBO")]
    rows = [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    records = {r["name"]: r for r in frame.open(run).folder.records if r["iteration"] == 50}
    assert {row[0] for row in rows} == set(records) and len(rows) == len(records) >= 3
    for row in rows:
        record = records[row[0]]
        assert float(row[1]) == pytest.approx(record["value"], rel=1e-2)
        assert float(row[2]) == pytest.approx(record["standard_error"], rel=0.1)
        assert row[3:6] == [record["unit"], record["split"], str(record["n_samples"])]
        assert (
            row[7] == record["estimator"] + (f", {record['bound']} bound" if record["bound"] else "") and row[9] == "50"
        )
    for words in ("frame.models.VAE.VAE", "50 iterations", "average weights of the last checkpoint", "1,797 pictures"):
        assert words in card, words
    assert re.search(r"^\*\*Made with\*\*: frame \S+, python \S+, torch \S+, lightning \S+[;.]", card, re.MULTILINE)
    parameters = sum(p.numel() for p in frame.load(run).parameters())
    assert f"**Parameters**: {parameters:,}" in card


def test_numbers_of_other_weights_are_listed_apart(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(OWN))
    raw = export(run, out=tmp_path / "raw", weights="raw")  # training measured the average
    card = (raw / "README.md").read_text()
    assert "not of these weights" in card and "Of these weights" not in card


def test_an_export_is_measured_like_its_run(run: Path, copied: Path, tmp_path: Path) -> None:
    original = Path(shutil.copytree(run, tmp_path / "run"))
    for folder in (original, copied):
        evaluate_run(folder, evaluate_on="test")
    values = [[r["value"] for r in frame.open(f).folder.records if r["split"] == "test"] for f in (original, copied)]
    assert values[0] == values[1] and len(values[0]) >= 3


def test_the_command_of_the_card_trains_the_same_weights(copied: Path, run: Path, tmp_path: Path) -> None:
    (line,) = re.findall(r"^(?:\w+=\S+ )*frame train .*$", (copied / "README.md").read_text(), re.MULTILINE)
    settings, _, words = line.partition("frame ")
    assert settings == "FRAME_CALLBACKS_WITNESS_FILE=... "
    file = {"FRAME_CALLBACKS_WITNESS_FILE": str(tmp_path / "witness")}
    code, output = command(copied, *shlex.split(words), **file)
    assert code == 0, output
    ours = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    again = torch.load(only_run(copied) / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(torch.equal(value, again["model"][key]) for key, value in ours["model"].items())


def test_the_command_of_a_swept_runs_card_is_read(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(OWN)
    swept = Path(shutil.copytree(run, tmp_path / "beta=0.5,layers=_16,8_,seed=1" / "a"))
    config = yaml.safe_load((swept / "config.yaml").read_text())
    (swept / "config.yaml").write_text(yaml.safe_dump(config | {"experiment_name": swept.parent.name}))
    out = export(swept, out=tmp_path / "out", packages=["toys"])
    (line,) = re.findall(r"^(?:\w+=\S+ )*(frame train .*)$", (out / "README.md").read_text(), re.MULTILINE)
    words = shlex.split(line)[2:]
    assert words[2] == "+experiment=beta_0_5_layers_16_8_seed_1"
    monkeypatch.setenv("FRAME_CALLBACKS_WITNESS_FILE", "witness")
    monkeypatch.setattr(OwnFolder, "folder", out / "source" / "config")
    composed = compose(words[2:])
    assert composed.experiment_name == swept.parent.name and composed.model == config["model"]


@pytest.mark.parametrize(
    ("name", "option"),
    [("VAE_MNIST", "VAE_MNIST"), ("β=1", "run_1"), ("", "run"), ("a" * 200, "a" * 100), ("7", "run_7")],
)
def test_the_name_of_an_exported_experiment_needs_no_quotes(name: str, option: str) -> None:
    assert option_of(name) == option


def test_a_variable_that_is_not_set_is_named(copied: Path) -> None:
    config = yaml.safe_load((copied / "config.yaml").read_text())
    config["data"]["binarize"] = "${oc.env:FRAME_DATA_ROOT}"
    (copied / "config.yaml").write_text(yaml.safe_dump(config))
    rehash(copied, "config.yaml")
    with pytest.raises(UserError, match="data cannot be filled in: .*FRAME_DATA_ROOT"):
        frame.open(copied).data("test")


# The encoder as a graph


def test_the_onnx_encoder_runs_without_frame(exported: Path) -> None:
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(exported / "encoder.onnx", providers=["CPUExecutionProvider"])
    assert [node.shape[0] for node in (*session.get_inputs(), *session.get_outputs())] == ["batch"] * 3
    model: Any = frame.load(exported)
    for n in (1, 3, 200):
        x = pictures(n)
        mean, scale = session.run(["mean", "scale"], {"x": x.numpy()})
        with torch.no_grad():
            q_z_given_x = model.encode(x)
        np.testing.assert_allclose(mean, q_z_given_x.mean, atol=1e-5)
        np.testing.assert_allclose(scale, q_z_given_x.stddev, atol=1e-5)
    told = json.loads((exported / "export.json").read_text())["encoder"]
    assert 0 < told["max_abs_difference"] < 1e-5 and "64 rows of test" in told["compared_on"]
    assert f"{told['max_abs_difference']:.2g}" in (exported / "README.md").read_text()


def test_the_torch_encoder_has_its_own_weights_and_no_others(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(OWN))
    written = export(run, out=tmp_path / "out", form="torch_export")
    program = torch.export.load(written / "encoder.pt2")
    assert {name.split(".")[1] for name in program.state_dict} == {"encoder"}
    x = pictures(3)
    mean, _ = program.module()(x)
    model: Any = frame.load(written)
    torch.testing.assert_close(mean, model.encode(x).mean)


def test_a_graph_that_differs_is_not_written(run: Path, tmp_path: Path) -> None:
    words = ["export", str(run), "--config-dir", str(OWN / "config"), "format=onnx", "out=out", "tolerance=1e-30"]
    code, output = command(tmp_path, *words)
    assert code == 2 and "differs from the original by" in output and len(output.splitlines()) == 1, output
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_an_encoder_that_draws_noise_is_refused(tmp_path: Path) -> None:
    class Noisy(torch.nn.Module):
        def features(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) + torch.randn_like(x.flatten(1))

    with pytest.raises(UserError, match="differs from the original"):
        export_encoder(Noisy(), Rows(("x",), [pictures()], "5 rows"), "torch_export", tmp_path, 1e-4)


def test_a_model_without_an_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Identity has neither encode"):
        export_encoder(torch.nn.Identity(), Rows(("x",), [pictures()], "5 rows"), "onnx", tmp_path, 1e-4)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"pip install 'frame-representations\[export\]'"):
        export_encoder(torch.nn.Identity(), Rows(("x",), [pictures()], "5 rows"), "onnx", tmp_path, 1e-4)


# The user's own source

MINE = '''
"""A user's own model."""

from frame.models.VAE import VAE
from lab import sums


class Gentle(VAE):
    def features(self, x):
        return sums.doubled(self.encoder(x).mean)
'''
SUMS = "from . import deeper\n\n\ndef doubled(x):\n    return deeper.TWO * x\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own folder with a run: a model in one module, which imports a package."""
    folder = tmp_path_factory.mktemp("user")
    for file, text in {
        "gentle.py": MINE,
        "lab/sums.py": SUMS,
        "lab/deeper.py": "TWO = 2.0\n",
        "lab/unused.py": "",
        "config/model/gentle.yaml": "defaults: [VAE, _self_]\n_target_: gentle.Gentle\n",
        "config/experiment/my_digits.yaml": "# @package _global_\ndefaults: [digits_VAE, override /model: gentle]\n",
    }.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    words = ["+experiment=my_digits", "train_for=5 iterations", "callbacks=null", "logging=csv"]
    code, output = command(folder, "train", *words)
    assert code == 0, output
    code, output = command(folder, "export", str(only_run(folder)), "packages=[gentle]", "out=shared")
    assert code == 0, output
    assert "trust_source=True" in output
    return folder


@pytest.fixture
def theirs(folder: Path, tmp_path: Path) -> Path:
    """The export in a folder without the user's package."""
    return Path(shutil.copytree(folder / "shared", tmp_path / "theirs"))


LOAD = """
import torch, frame
from frame.common.errors import UserError
x = torch.linspace(0, 1, 128).view(2, 1, 8, 8)
try:
    print(frame.load({where!r}, {options}).features(x).tolist())
except UserError as error:
    print("error:", error)
"""


def test_the_source_is_exported_with_its_imports(theirs: Path) -> None:
    found = {file.relative_to(theirs / "source").as_posix() for file in (theirs / "source").rglob("*.py")}
    assert found == {"gentle.py", "lab/sums.py", "lab/deeper.py"}
    assert (theirs / "source" / "gentle.py").read_text() == MINE


def test_source_runs_with_consent_and_not_without(folder: Path, theirs: Path) -> None:
    original = python(LOAD.format(where=str(only_run(folder)), options="packages=['gentle']"), folder)
    refused = python(LOAD.format(where="theirs", options=""), theirs.parent)
    assert refused.stdout.startswith(
        "error: model names gentle.Gentle, whose source is in the export and is not trusted"
    )
    assert "trust_source=True" in refused.stdout and len(refused.stdout.splitlines()) == 1
    loaded = python(LOAD.format(where="theirs", options="trust_source=True"), theirs.parent)
    assert loaded.stdout == original.stdout and loaded.stdout.startswith("[["), loaded.stderr
    installed = python(LOAD.format(where="theirs", options="packages=['gentle']"), theirs.parent, [folder])
    assert installed.stdout == original.stdout, installed.stderr


EVIL = "open('executed', 'w')\n"


def rehash(export: Path, *names: str) -> None:
    """Updates the hashes, as an attacker would."""
    from hashlib import sha256

    manifest = json.loads((export / "export.json").read_text())
    manifest["files"] |= {name: sha256((export / name).read_bytes()).hexdigest() for name in names}
    (export / "export.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("options", ["", "trust_source=True"])
@pytest.mark.parametrize("file", ["source/gentle.py", "source/lab/deeper.py", "config.yaml", "model.safetensors"])
def test_a_file_that_was_tampered_with_is_refused(file: str, options: str, theirs: Path) -> None:
    with (theirs / file).open("a") as stream:
        stream.write(EVIL)
    trust = bool(options)
    with pytest.raises(UserError, match="is not what was exported"):
        frame.load(theirs, trust_source=trust)
    (theirs / file).unlink()
    with pytest.raises(UserError, match="config.yaml" if file == "config.yaml" else "is missing"):
        frame.load(theirs, trust_source=trust)


def test_a_file_that_was_added_is_refused(theirs: Path) -> None:
    (theirs / "source" / "torchvision.py").write_text(EVIL)
    with pytest.raises(UserError, match="torchvision.py was not exported"):
        frame.load(theirs, trust_source=True)


def test_a_compiled_file_beside_the_source_is_not_run(theirs: Path) -> None:
    evil = theirs.parent / "evil.py"
    evil.write_text(EVIL)
    for module in ("gentle", "lab/sums"):
        file = theirs / "source" / f"{module}.py"
        cache = file.parent / "__pycache__" / f"{file.stem}.{sys.implementation.cache_tag}.pyc"
        unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(evil), cfile=str(cache), invalidation_mode=unchecked)
    loaded = python(LOAD.format(where="theirs", options="trust_source=True"), theirs.parent)
    assert loaded.stdout.startswith("[["), loaded.stderr
    assert not (theirs.parent / "executed").exists()


def test_a_manifest_cannot_name_files_elsewhere(theirs: Path) -> None:
    (theirs.parent / "gentle.py").write_text(EVIL)
    manifest = json.loads((theirs / "export.json").read_text())
    manifest["modules"]["gentle"] = "../gentle.py"
    (theirs / "export.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="lies outside of it"):
        frame.load(theirs, trust_source=True)
    (theirs / "export.json").write_text("{}")
    with pytest.raises(UserError, match="is not what `frame export` writes"):
        frame.load(theirs)


def test_trusting_the_source_does_not_trust_the_config(theirs: Path) -> None:
    config = yaml.safe_load((theirs / "config.yaml").read_text())
    config["model"]["encoder"] = {"_target_": "os.system", "command": "touch executed"}
    (theirs / "config.yaml").write_text(yaml.safe_dump(config))
    rehash(theirs, "config.yaml")
    loaded = python(LOAD.format(where="theirs", options="trust_source=True"), theirs.parent)
    assert "names os.system, which is not trusted" in loaded.stdout
    assert not (theirs.parent / "executed").exists()


def test_another_module_of_the_same_name_stays_beside_it(folder: Path, theirs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "gentle.py").write_text("class Gentle: ...\n")
    code = "import gentle\n" + LOAD.format(where=str(theirs), options="trust_source=True")
    loaded = python(code, other)
    assert loaded.returncode == 0 and "error" not in loaded.stdout, loaded.stderr


def test_a_new_method_in_the_clone_is_exported(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(OWN))
    file = Path(frame.__file__).parent / "models" / "VAE.py"
    monkeypatch.setattr("frame.runs.source._untracked", lambda: frozenset({file.resolve()}))
    written = export(run, out=tmp_path / "out")
    assert (written / "source" / "frame" / "models" / "VAE.py").read_text() == file.read_text()
    assert "First copy `source/frame/models/VAE.py` into a clone" in (written / "README.md").read_text()
    with pytest.raises(UserError, match="whose source is in the export"):
        frame.load(written)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    assert type(frame.load(written, trust_source=True)).__name__ == "VAE"


def test_a_run_has_no_source_to_trust(run: Path) -> None:
    with pytest.raises(UserError, match="is not an export"):
        frame.load(run, trust_source=True)


# Refusals


def test_an_existing_folder_is_not_overwritten(run: Path, tmp_path: Path) -> None:
    for kept in (None, "mine.txt"):
        (tmp_path / "out").mkdir(exist_ok=True)
        if kept:
            (tmp_path / "out" / kept).write_text("mine")
        code, output = command(tmp_path, "export", str(run), "out=out")
        assert code == 2 and "out exists, and nothing is overwritten" in output
        assert [file.name for file in (tmp_path / "out").iterdir()] == ([kept] if kept else [])


def test_source_that_names_this_machine_is_refused(folder: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "own", ignore=shutil.ignore_patterns("shared")))
    (own / "lab" / "deeper.py").write_text(f"TWO = 2.0\nFILES = '{own}/files'\n")
    words = ["export", str(only_run(own)), "packages=[gentle]", "out=shared"]
    code, output = command(own, *words, XDG_CONFIG_HOME=str(tmp_path / "another user"))
    assert code == 2 and len(output.splitlines()) == 1
    assert re.search(r"source/lab/deeper.py, line 2, names '.*' of this machine: take it out", output), output
    assert not (own / "shared").exists() and not list(own.glob(".shared*"))


def test_another_users_modules_must_be_here(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [place for place in sys.path if Path(place) != OWN])  # the process takes it over
    code, output = command(tmp_path, "export", str(run), "out=out", XDG_CONFIG_HOME=str(tmp_path / "another user"))
    assert code == 2 and "there is no module 'toys' here" in output and len(output.splitlines()) == 1, output


@pytest.mark.parametrize(
    "words, answer",
    [
        ([], "export takes one run"),
        (["{run}", "{run}"], "export takes one run"),
        (["nowhere"], "no run in nowhere"),
        (["{run}", "format=onx"], "no format 'onx': did you mean 'onnx'?"),
        (["{run}", "checkpoint=first"], "no checkpoint 'first'"),
        (["{run}", "wieghts=raw"], "no option of export 'wieghts': did you mean 'weights'?"),
        (["{run}", "tolerance=small"], "tolerance is a number"),
        (["{export}"], "is an export already"),
    ],
)
def test_an_error_is_one_line_and_writes_nothing(
    words: list[str], answer: str, run: Path, exported: Path, tmp_path: Path
) -> None:
    filled = [word.format(run=run, export=exported) for word in words]
    code, output = command(tmp_path, "export", *filled)
    assert code == 2 and answer in output and len(output.splitlines()) == 1, output
    assert [file.name for file in tmp_path.iterdir() if not file.name.startswith("output-")] in ([], ["exports"])


def test_an_export_is_not_trained_on(exported: Path) -> None:
    with pytest.raises(UserError, match="no state to go on from"):
        resume(exported, [])


def test_a_newer_export_is_refused(copied: Path) -> None:
    manifest = json.loads((copied / "export.json").read_text())
    (copied / "export.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(UserError, match="newer version"):
        frame.open(copied)


# All methods

WITHOUT = ("GAN", "Joint", "WGAN_GP", "InformationEstimation")


# a mean as the last operation, whose name was that of an output, and a class token for each row
OFTEN = ("FashionMNIST_SimCLR", "digits_MAE")


@pytest.mark.parametrize("form", ["onnx", "torch_export"])
@pytest.mark.parametrize("experiment", slow_but(OFTEN, CASES))
def test_every_encoder_can_be_exported(experiment: str, form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, batch = build(experiment)
    if type(model).__name__ in WITHOUT:
        pytest.skip("it has no encoder")
    rows = Rows(tuple(getattr(model, "inputs", ("x",))), given(model.eval(), batch), "12 rows")
    told = export_encoder(model, rows, form, tmp_path, 1e-4)
    assert told["max_abs_difference"] <= told["tolerance"] and (tmp_path / told["file"]).exists()
