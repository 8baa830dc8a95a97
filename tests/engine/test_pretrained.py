"""A trained network starts another run, whose folder needs the first one no longer."""

import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import frame
from frame.architectures.base import MLPEncoder
from frame.commands.main import main
from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.engine.experiment import build
from tests.processes import only_run, train

QUICK = ("logging=csv", "evaluations=null", "doctor=null")


@pytest.fixture(scope="module")
def simclr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few iterations of SimCLR with an average of its weights."""
    folder = tmp_path_factory.mktemp("simclr")
    words = ["model=SimCLR", "data=views", "architectures.encoder.layers=[16]", "+optimization.average=0.5"]
    code, printed = train([*words, "train_for=3 iterations", *QUICK], folder)
    assert code == 0, printed
    return only_run(folder)


def word(run: Path, more: str = "") -> str:
    return f"architectures.encoder={{_target_: frame.pretrained, run: {run}{more}}}"


def encoder_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of the backbone, of a model whose encoder may lie in another module."""
    return {name.rpartition("backbone.")[2]: p for name, p in model.named_parameters() if "backbone." in name}


def test_a_network_starts_with_the_average_and_without_the_head(
    simclr: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = build(compose(["experiment=digits_Classifier", word(simclr), "params.z_dim=16", *QUICK]))
    given = encoder_of(frame.load(simclr))
    raw = encoder_of(frame.load(simclr, weights="raw"))
    found = encoder_of(made.model)
    assert found.keys() == given.keys() and len(found) == 2
    for name, weight in found.items():
        assert torch.equal(weight, given[name]) and not torch.equal(weight, raw[name]) and weight.requires_grad
    assert "average weights of iteration 3" in capfd.readouterr().err
    assert not [name for name, _ in made.model.named_parameters() if "head" in name and name.startswith("encoder")]


def test_the_new_run_stands_alone(simclr: Path, tmp_path: Path) -> None:
    """Trained with a frozen encoder; then the first run is gone, and the new one is opened, evaluated and resumed."""
    gone = Path(shutil.copytree(simclr, tmp_path / "cell" / "gone"))
    frozen = "optimization.rules={encoder: {match: encoder.*, freeze: true}}"
    words = ["+experiment=digits_Classifier", word(gone.parent), "params.z_dim=16", frozen, *QUICK]
    code, printed = train([*words, "train_for=3 iterations"], tmp_path)
    assert code == 0, printed
    shutil.rmtree(gone)
    run = only_run(tmp_path)
    for name, weight in encoder_of(frame.load(run)).items():
        assert torch.equal(weight, encoder_of(frame.load(simclr))[name]), name
    kept = frame.open(run).config.pretrained["model.encoder"]
    assert kept.run == str(gone) and kept.weights == "average" and kept.iteration == 3
    assert main(["evaluate", str(run), "evaluation=[accuracy]", "evaluate_on=test"]) == 0
    code, printed = train([f"resume={run}", "train_for=5 iterations"], tmp_path)
    assert code == 0, printed
    # a run that was stopped before its first checkpoint starts from the same weights, which are needed
    shutil.rmtree(run / "checkpoints")
    (run / "status.json").write_text((run / "status.json").read_text().replace('"finished"', '"stopped"'))
    code, printed = train([f"resume={run}"], tmp_path)
    assert code == 2 and "there is no" in printed
    shutil.copytree(simclr, gone)
    code, printed = train([f"resume={run}"], tmp_path)
    assert code == 0, printed
    for name, weight in encoder_of(frame.load(run)).items():
        assert torch.equal(weight, encoder_of(frame.load(simclr))[name]), name


def test_in_a_notebook_it_is_a_module_to_train_on(simclr: Path) -> None:
    encoder: Any = frame.pretrained(str(simclr))
    assert encoder.training and all(p.requires_grad for p in encoder.parameters())
    assert encoder.features(torch.rand(3, 1, 8, 8)).shape == (3, 16)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (", part: model.encodr", "did you mean 'model.encoder'"),
        (", part: model.encoder.backbone", "no network in the config of"),
        (", part: model.projector", "Projector gives a partial, not a torch.nn.Module"),
        (", checkpoint: best", "has no best checkpoint"),
        (", rum: 3", "no argument of frame.pretrained 'rum'"),
    ],
)
def test_what_does_not_fit_is_one_line(simclr: Path, more: str, expected: str) -> None:
    words = ["experiment=digits_Classifier", word(simclr, more), "params.z_dim=16", *QUICK]
    with pytest.raises(UserError, match=expected):
        build(compose(words))


def elsewhere() -> MLPEncoder:
    torch.manual_seed(3)
    return MLPEncoder([1, 8, 8], 8, [16])


NETWORK = "{_target_: frame.architectures.base.MLPEncoder, shape: [1, 8, 8], z_dim: 8, layers: [16]}"


def of_file(file: Path, more: str = "") -> str:
    return f"architectures.encoder={{_target_: frame.pretrained, file: {file}, network: {NETWORK}{more}}}"


@pytest.fixture
def moco(tmp_path: Path) -> Path:
    """A file as MoCo's: a wrapper's prefix, a queue, and a last layer that the network has not."""
    state = {f"module.encoder_q.{name}": tensor for name, tensor in elsewhere().state_dict().items()}
    state |= {"module.encoder_q.fc.bias": torch.ones(2), "module.queue": torch.ones(3)}
    torch.save({"epoch": 200, "state_dict": state}, tmp_path / "moco.pt")
    return tmp_path / "moco.pt"


def test_weights_of_a_file_start_a_run_that_needs_it_no_longer(
    moco: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = of_file(moco, ", prefix: module.encoder_q., allow: [fc]")
    words = ["+experiment=digits_Classifier", given, "params.z_dim=8", *QUICK]
    frozen = "optimization.rules={backbone: {match: encoder.*, freeze: true}}"
    code, printed = train([*words, frozen, "train_for=2 iterations"], tmp_path)
    assert code == 0, printed
    assert f"model.encoder: {moco}, all weights; left out: fc.bias; not below the prefix: module.queue" in printed
    run = only_run(tmp_path)
    kept = frame.open(run).config.pretrained["model.encoder"]
    assert kept.file == str(moco) and len(kept.sha256) == 64 and kept.prefix == "module.encoder_q."
    content = moco.read_bytes()
    moco.unlink()
    expected = encoder_of(elsewhere())
    for name, weight in encoder_of(frame.load(run)).items():
        assert torch.equal(weight, expected[name]), name
    code, printed = train([f"resume={run}", "train_for=3 iterations"], tmp_path)
    assert code == 0, printed
    # without a checkpoint the file is needed, and must be the same
    shutil.rmtree(run / "checkpoints")
    (run / "status.json").write_text((run / "status.json").read_text().replace('"finished"', '"stopped"'))
    torch.save({"state_dict": {"module.encoder_q.head.bias": torch.ones(16)}}, moco)
    code, printed = train([f"resume={run}"], tmp_path)
    assert code == 2 and "is not the file that model.encoder of this run started with" in printed
    moco.write_bytes(content)
    code, printed = train([f"resume={run}"], tmp_path)
    assert code == 0, printed


def test_a_teacher_starts_with_the_weights_of_its_student(moco: Path) -> None:
    given = of_file(moco, ", prefix: module.encoder_q., allow: [fc]")
    made = build(compose(["model=BYOL", "data=views", given, *QUICK]))
    expected = elsewhere().state_dict()["backbone.hidden.0.weight"]
    model: Any = made.model
    assert torch.equal(model.encoder.backbone.hidden[0].weight, expected)
    assert torch.equal(model.teacher.encoder.backbone.hidden[0].weight, expected)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", "no weight fits MLPEncoder, whose names are backbone.* "),
        (", prefix: module.encoder_q.", r"left out: fc.bias. Map names .* allow=.fc"),
        (", run: runs/a", "takes run, the folder of a run, or file, a file of weights: give one"),
        (", weights: raw", "weights does not go with file"),
        (", prefix: module.encoder_q., allow: ['(']", "no regular expression"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(moco: Path, more: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected) as error:
        build(compose(["experiment=digits_Classifier", of_file(moco, more), "params.z_dim=8", *QUICK]))
    assert "\n" not in str(error.value)


def test_weights_of_a_file_in_a_notebook(moco: Path) -> None:
    mapping = {r"^module\.encoder_q\.": ""}
    frozen = elsewhere().requires_grad_(False)
    found: Any = frame.pretrained(file=moco, network=frozen, names=mapping, allow=["fc", "module.queue"])
    assert found.training and all(p.requires_grad for p in found.parameters())
    with pytest.raises(UserError, match="network must be a torch.nn.Module"):
        frame.pretrained(file=moco, network={"_target_": "builtins.dict"})
    with pytest.raises(UserError, match="give one of them"):
        frame.pretrained()


class Features(nn.Module):
    """A network that is made by a function, as in timm; with num_classes=0 it returns features."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.fc = nn.Linear(width, num_classes) if num_classes else nn.Identity()

    def forward(self, x: torch.Tensor) -> Any:
        found: torch.Tensor = self.fc(self.stem(x.flatten(1)).relu())
        return found


class Settings:
    """An object that a network takes, as in transformers."""

    def __init__(self, width: int) -> None:
        self.width = width


class Output(nn.Module):
    """A network that returns its tokens under a name, as in transformers."""

    def __init__(self, config: Settings) -> None:
        super().__init__()
        self.embed = nn.Linear(8, config.width)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"last_hidden_state": self.embed(x.flatten(1, 2))}


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two made-up modules with the interfaces of others."""
    models: Any = ModuleType("somebodys")
    models.create_model = lambda name, num_classes=1000: Features({"tiny": 16}[name], num_classes)
    models.Settings, models.Output = Settings, Output
    monkeypatch.setitem(sys.modules, "somebodys", models)


@pytest.mark.parametrize(
    ("network", "published", "more"),
    [
        ("{_target_: somebodys.create_model, name: tiny, num_classes: 0}", Features(16, 1000), ", allow: [fc]"),
        ("{_target_: somebodys.Output, config: {_target_: somebodys.Settings, width: 16}}", Output(Settings(16)), ""),
    ],
)
def test_networks_of_other_libraries_take_their_weights(
    network: str, published: nn.Module, more: str, libraries: None, tmp_path: Path
) -> None:
    torch.save(published.state_dict(), tmp_path / "model.bin")
    backbone = f"{{_target_: frame.pretrained, file: {tmp_path}/model.bin, network: {network}{more}}}"
    head = "{_target_: frame.architectures.heads.DeltaHead, n_in: 16, z_dim: 8}"
    field = ", field: last_hidden_state" if "Output" in network else ""
    encoder = f"{{_target_: frame.architectures.base.Encoder, backbone: {backbone}, head: {head}{field}}}"
    words = ["experiment=digits_Classifier", f"architectures.encoder={encoder}", "params.z_dim=8"]
    made = build(compose([*words, "params.encoder_layers=null", *QUICK]))
    model: Any = made.model
    first = next(iter(published.state_dict()))
    assert torch.equal(model.encoder.backbone.state_dict()[first], published.state_dict()[first])
