"""An export for the Hugging Face hub: its metadata are the hub's own, and it is read back, also by a hub name."""

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard, errors

import frame
from frame.commands.main import main
from frame.common.errors import UserError
from frame.engine.reevaluate import evaluate_run
from frame.runs import hub
from frame.sharing.export import export
from frame.sharing.hub import check_hub
from tests.processes import OWN


@pytest.fixture(scope="module")
def exported(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    run = Path(shutil.copytree(tiny_run, folder / "runs" / "tiny" / "first"))
    evaluate_run(run, chosen={"ELBO/Test": {"_target_": "frame.evaluation.elbo.ELBOEvaluation", "evaluate_on": "test"}})
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(OWN))
        return export(run, out=folder / "shared", form="huggingface", licence="mit")


def test_the_card_has_the_metadata_that_the_hub_reads(exported: Path, tiny_run: Path) -> None:
    card = ModelCard.load(exported / "README.md")
    assert card.data.license == "mit" and card.data.library_name == "frame"
    assert {"VAE", "Digits", "representation-learning"} <= set(card.data.tags)
    numbers = {result.metric_name: result for result in card.data.eval_results}
    found = numbers["ELBO/Test (nats per picture)"]
    record = next(r for r in reversed(frame.open(exported).folder.records) if r["name"] == "ELBO/Test")
    assert found.metric_value == record["value"] and found.dataset_split == "test" and found.dataset_name == "Digits"
    assert "## Train it again" in card.text and 'the name of this page: "user/name"' in card.text
    config = json.loads((exported / "config.json").read_text())
    assert config["model_type"] == "VAE" and config["frame_version"] == frame.__version__
    assert config["model"]["_target_"] == "frame.models.VAE.VAE" and (exported / "model.safetensors").is_file()


def same(ours: torch.nn.Module, theirs: torch.nn.Module) -> bool:
    return all(torch.equal(a, theirs.state_dict()[name]) for name, a in ours.state_dict().items())


def test_it_is_read_from_the_folder_and_by_a_name_on_the_hub(
    exported: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert same(frame.load(exported), frame.load(tiny_run))
    asked: list[tuple[Any, Any]] = []

    def snapshot_download(name: str, *, revision: Any, local_dir: Path, **options: Any) -> str:
        asked.append((name, revision))
        return str(shutil.copytree(exported, local_dir, dirs_exist_ok=True))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert same(frame.load("janedoe/tiny-vae"), frame.load(tiny_run))
    encoder: Any = frame.load("janedoe/tiny-vae@v1.0", "model.encoder")
    assert encoder(torch.rand(2, 1, 8, 8)).mean.shape[0] == 2
    assert asked == [("janedoe/tiny-vae", None), ("janedoe/tiny-vae", "v1.0")]
    (tmp_path / "cache" / "frame" / "hub" / "janedoe--tiny-vae" / "model.safetensors").write_bytes(b"changed")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *words, **options: "")
    with pytest.raises(UserError, match="sha256 differs"):
        frame.load("janedoe/tiny-vae")
    Path("janedoe").mkdir()  # a folder of this name comes first
    with pytest.raises(UserError, match="no run in janedoe/tiny-vae"):
        frame.load("janedoe/tiny-vae")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.LocalEntryNotFoundError("no network\nand more"), "the hub cannot be reached"),
        (OSError("[Errno 101] Network is unreachable\nagain"), "Network is unreachable"),
        (RuntimeError("closed"), "RuntimeError: closed"),
    ],
)
def test_without_a_network_it_is_one_line(
    error: Exception, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot_download(*words: Any, **options: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match=expected) as raised:
        frame.load("janedoe/tiny-vae")
    assert "\n" not in str(raised.value) and "no folder janedoe/tiny-vae here" in str(raised.value)


def test_what_is_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub.is_hub_name("janedoe/tiny-vae") and hub.is_hub_name("a/b@main")
    for place in ("runs", "a/b/c", "./b", "../b", "/a/b", "~/b", "a/b*", Path("a/b"), "runs/nothing"):
        assert not hub.is_hub_name(place), place


def test_a_licence_is_an_identifier(tiny_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for licence in ("mit", "apache-2.0", "cc-by-nc-4.0", None):
        check_hub(licence)
    with pytest.raises(UserError, match="such as mit, apache-2.0"):
        check_hub("mine: [a]")
    assert main(["export", str(tiny_run), "license=mit", f"out={tmp_path}/out"]) == 2
    assert "is for format=huggingface" in capfd.readouterr().err
    words = ["--config-dir", str(OWN / "config"), "format=huggingface", f"out={tmp_path}/out"]
    assert main(["export", str(tiny_run), *words]) == 0
    printed = capfd.readouterr().out
    assert "none is given" in printed and "hf upload USER/NAME" in printed
