"""From typed words to one config; nothing here imports torch."""

import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig

from frame.common import durations
from frame.common.errors import UserError
from frame.composition import checks
from frame.composition import compose as module
from frame.composition.compose import changed_by, compose, hydra_words, normalise
from frame.composition.evaluations import to_callbacks
from frame.composition.folders import OwnFolder, config_folder, use_own_folder
from frame.composition.stored import resolved
from frame.engine.experiment import GIVEN
from tests.models.test_every_model import FIRST
from tests.processes import OWN, python
from tests.slow import slow_but

EXPERIMENTS = sorted(file.stem for file in (config_folder() / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("name", slow_but({*FIRST.values(), "VAE_MNIST"}, EXPERIMENTS))
def test_both_spellings_of_an_experiment_are_one_and_it_can_be_built(name: str) -> None:
    assert normalise([f"+experiment={name}", "a=b"]) == normalise([f"experiment={name}", "a=b"])
    config = compose([f"experiment={name}"])
    assert config.experiment_name == name
    plain = resolved(config)
    checks.check(plain, plain, GIVEN)  # their constructors take these arguments


@pytest.mark.parametrize(
    "typed",
    [
        ["params.beta=2", "seed=3", "train_for='2 epochs'"],
        ["+params.more=[1,{a: 2}]", "++params.more=[3]", "params.beta=null"],
        ["callbacks.elbo_valid={name: x}", "~callbacks.breaker", "~params.beta=1.0"],
        ["+trainer.max_epochs=2", "++trainer.max_steps=3", "model.beta=${params.lr}"],
        ["logging.wandb.project=a b", "logging=[csv,tensorboard]", "logging.tensorboard.x=1"],
        ["debug=fast", "train_for=3 iterations", "checkpoint={every: 3 iterations}"],
        ["callbacks=null", "+callbacks.mine={name: A}"],
        ["callbacks={}", "architectures.encoder.layers=[]"],
        ["logging=null"],
        ["~logging"],
        ["params.beta=1,2"],
        ["params.nothing=1"],
        ["~params.nothing"],
        ["params.beta.deeper=1"],
        ["callbacks.elbo_valid.name.deeper=[1]"],
        ["seed=[1"],
    ],
    ids=" ".join,
)
def test_values_override_a_config_as_in_hydra(typed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Composing with them at once gives the same config or the same message. `tiny` names no evaluations."""
    monkeypatch.setattr(OwnFolder, "folder", OWN / "config")
    overrides = ["experiment=tiny", *typed]
    found = []

    def at_once(before: DictConfig, values: object) -> DictConfig:
        return to_callbacks(module._compose(hydra_words(overrides)))

    for step in (module._with_values, at_once):
        monkeypatch.setattr(module, "_with_values", step)
        monkeypatch.setattr(module, "check_value", lambda *_: None)  # it would refuse the wrong ones
        try:
            found.append(repr(compose(overrides)))
        except UserError as error:
            found.append(str(error))
    assert found[0] == found[1]


def test_both_names_of_the_documents_example_are_one() -> None:
    ours, theirs = compose(["+experiment=MNIST_VAE"]), compose(["+experiment=VAE_MNIST"])
    assert {**ours, "experiment_name": 0} == {**theirs, "experiment_name": 0}


@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_a_trainers_key_takes_any_plus(plus: str) -> None:
    config = compose(["experiment=MNIST_VAE", f"{plus}trainer.max_epochs=20", f"{plus}trainer.precision=bf16-mixed"])
    assert config.trainer.max_epochs == 20 and config.trainer.precision == "bf16-mixed"


def test_callbacks_are_changed_and_removed_by_name() -> None:
    changed = compose(
        ["experiment=MNIST_VAE", "callbacks.elbo_valid.evaluate_every='1 epoch'", "~callbacks.elbo_train"]
    )
    assert changed.callbacks.elbo_valid.evaluate_every == "1 epoch" and "elbo_train" not in changed.callbacks
    assert compose(["experiment=MNIST_VAE", "callbacks=null"]).callbacks is None


def test_debug_is_moved_to_the_end() -> None:
    assert normalise(["debug=fast", "experiment=a", "params.b=1"]) == ["+experiment=a", "params.b=1", "+debug=fast"]
    assert compose(["debug=fast", "experiment=MNIST_VAE"]).train_for == "1 iterations"


def test_what_is_typed_wins_over_debug() -> None:
    assert compose(["debug=fast", "experiment=MNIST_VAE", "train_for=3 iterations"]).train_for == "3 iterations"


def test_without_an_experiment_the_parts_need_no_plus() -> None:
    config = compose(["model=VAE", "data=digits", "optimization=batch_ADAM", "+params.beta=2"])
    assert config.model._target_ == "frame.models.VAE.VAE" and config.params.beta == 2


def test_an_experiments_data_can_be_exchanged() -> None:
    assert compose(["experiment=MNIST_VAE", "data=FashionMNIST"]).data._target_.endswith("FashionMNIST")


def test_a_device_is_named_by_the_environment(tmp_path: Path) -> None:
    code = "from frame.composition.compose import compose; print(compose([]).device.gpus)"
    for name, expected in (("workstation", "4"), ("local", "auto")):
        done = python(code, tmp_path, DEVICE_NAME=name)
        assert done.stdout.strip() == expected, done.stderr


def test_a_wrong_device_in_the_environment_lists_the_valid_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVICE_NAME", "nowhere")
    with pytest.raises(UserError, match="no device 'nowhere'.* There are: local, workstation"):
        compose([])


def test_seeds_follow_the_seed_and_can_be_set_apart() -> None:
    assert compose(["seed=7"]).seeds == {"init": 7, "data": 7, "noise": 7}
    assert compose(["seed=7", "seeds.init=1"]).seeds == {"init": 1, "data": 7, "noise": 7}


def test_own_files_win_over_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "config" / "device"
    folder.mkdir(parents=True)
    (folder / "local.yaml").write_text("gpus: 3\n")
    monkeypatch.setattr(OwnFolder, "folder", None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    use_own_folder(tmp_path / "config")
    assert compose([]).device == {"gpus": 3, "memory_for_data": "auto"}
    use_own_folder(OWN / "config")
    assert compose(["experiment=tiny"]).experiment_name == "tiny"


@pytest.mark.parametrize(
    ("text", "amount", "counter"),
    [
        ("20 epochs", 20, "epochs"),
        ("1 epoch", 1, "epochs"),
        ("500 iterations", 500, "iterations"),
        ("90 seconds", 90, "seconds"),
        ("1 hour 30 minutes", 5400, "seconds"),
        ("1 hour, 30 minutes and 5 seconds", 5405, "seconds"),
        ("3 days", 259200, "seconds"),
        ("0.5 epochs", 0.5, "epochs"),
        ("1e3 iterations", 1000, "iterations"),
        ("7 adversary_steps", 7, "adversary_steps"),
    ],
)
def test_durations_are_read(text: str, amount: float, counter: str) -> None:
    assert durations.parse(text, key="k") == durations.Duration(amount, counter)


@pytest.mark.parametrize("text", ["", "20", "epochs", "5 epochs 3 seconds", "-1 epochs", "0 epochs", "1.2.3 epochs"])
def test_invalid_durations_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="train_for: "):
        durations.parse(text, key="train_for")


def test_multiples_lie_after_now() -> None:
    every = durations.Duration(10, "iterations")
    assert [every.next_after(now) for now in (0, 9, 10, 25.5)] == [10, 10, 20, 30]


def test_a_schedule_may_replace_a_number_and_a_word_may_not() -> None:
    schedule = "{_target_: frame.common.schedules.Linear, start: 0.0, end: 1.0, over: 3 epochs}"
    config = compose(["experiment=digits_VAE", f"params.beta={schedule}"])
    assert resolved(config)["model"]["beta"]["end"] == 1.0
    with pytest.raises(UserError, match="wants a number"):
        compose(["experiment=digits_VAE", "params.beta={start: 0.0}"])


def test_an_exchanged_model_takes_the_parameters_that_the_experiment_lacks() -> None:
    """MNIST_IWAE has no params.beta, which VAE refers to."""
    added = compose(["experiment=MNIST_IWAE", "model=VAE", "+params.beta=0.5"])
    replaced = compose(["experiment=MNIST_IWAE", "model=VAE", "model.beta=0.5"])
    assert added.model.beta == replaced.model.beta == 0.5
    with pytest.raises(UserError, match="no key 'params.bta'"):
        compose(["experiment=MNIST_IWAE", "model=VAE", "+params.bta=0.5"])


CHANGEABLE = ("train_for", "trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "device.", "checkpoint.every")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("train_forr=5 epochs", "no key 'train_forr': did you mean 'train_for'"),
        ("device.gpuss=3", "no key 'device.gpuss': did you mean 'device.gpus'"),
        ("+device.gpuss=3", "no key 'device.gpuss'"),
        ("trainer.max_epoch=3", "did you mean 'trainer.max_epochs'"),
        ("device=workstation", "device: a resumed run keeps its config"),
        ("params.lr=1", "params.lr: a resumed run keeps its config"),
        ("~checkpoint.every", "write checkpoint.every=null"),
        ("checkpoint.every", "cannot read"),
        ("device.num_workers=many", "wants a number"),
        ("train_for=[", "cannot read"),
    ],
)
def test_words_after_resume_are_checked_as_for_a_new_run(typed: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        changed_by(compose(["experiment=digits_VAE"]), [typed], CHANGEABLE)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_the_newest_limit_of_a_resumed_run_replaces_the_former() -> None:
    stored = compose(["experiment=digits_VAE", "trainer.max_epochs=3"])
    timed = changed_by(stored, ["trainer.max_time=1:00:00:00"], CHANGEABLE)
    assert (
        durations.limits_of(timed) == [durations.Duration(86400, "seconds")] and timed.trainer.max_time == "1:00:00:00"
    )
    longer = changed_by(stored, ["train_for='1 hour 30 minutes'", "device.gpus=0"], CHANGEABLE)
    assert durations.limits_of(longer) == [durations.Duration(5400, "seconds")] and longer.device.gpus == 0
    assert stored.trainer.max_epochs == 3


@pytest.mark.parametrize("typed", ["trainer.devices=2", "+trainer.devices=2", "++trainer.devices=2"])
def test_a_resumed_run_may_get_an_argument_of_the_trainer(typed: str) -> None:
    changed = changed_by(compose(["experiment=digits_VAE"]), [typed], (*CHANGEABLE, "trainer.devices"))
    assert changed.trainer.devices == 2


def test_what_is_remembered_is_read_again_when_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True)
    monkeypatch.setattr(OwnFolder, "folder", tmp_path / "config")
    file.write_text("# @package _global_\ndefaults: [digits_VAE]\nparams: {z_dim: 3}\n")
    first = compose(["experiment=mine"])
    first.params.z_dim = 5  # a caller may change what it gets
    assert compose(["experiment=mine"]).params.z_dim == 3
    file.write_text("# @package _global_\ndefaults: [digits_VAE]\nparams: {z_dim: 44}\n")
    assert compose(["experiment=mine"]).params.z_dim == 44
    monkeypatch.setenv("DEVICE_NAME", "workstation")
    assert compose(["experiment=mine"]).device.gpus == 4
