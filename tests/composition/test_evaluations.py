"""Evaluations by name: what `evaluations` of a config becomes."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from frame.commands.hydra_answers import ask_hydra
from frame.common.errors import UserError
from frame.composition import evaluations
from frame.composition.compose import chosen_evaluation, compose
from frame.composition.evaluations import expand, laid_over
from frame.composition.folders import OwnFolder, options, use_own_folder
from frame.composition.settings import check_read

PARTS = """\
# @package _global_
defaults:
  - /model: VAE
  - /data: digits
  - /optimization: batch_ADAM
params: {beta: 1.0, lr: 1e-3, batch_size: 64}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own config folder."""
    for group in ("experiment", "evaluation"):
        (tmp_path / "config" / group).mkdir(parents=True)
    monkeypatch.setattr(OwnFolder, "folder", None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    use_own_folder(tmp_path / "config")
    return tmp_path / "config"


def written(own: Path, text: str, *typed: str) -> dict[str, Any]:
    """The callbacks of an experiment with this text, after what was typed."""
    (own / "experiment" / "mine.yaml").write_text(PARTS + text)
    config = compose(["experiment=mine", *typed])
    check_read(config)
    assert "evaluations" not in config
    found: Any = OmegaConf.to_container(config, resolve=False)
    return {} if found["callbacks"] is None else dict(found["callbacks"])


def test_the_documents_two_callbacks_come_out_of_one_line() -> None:
    found = expand({"elbo": {"every": "10 seconds", "on": ["train", "valid"], "n_samples": 2048}})
    assert list(found) == ["elbo_train", "elbo_valid"]
    assert found["elbo_train"] == {
        "_target_": "frame.callbacks.EvaluationCallback",
        "name": "ELBO/Train",
        "evaluate_every": "10 seconds",
        "evaluator": {
            "_target_": "frame.evaluation.elbo.ELBOEvaluation",
            "evaluate_on": "train",
            "n_samples": 2048,
        },
    }
    assert found["elbo_valid"]["name"] == "ELBO/Validation"


@pytest.mark.parametrize("name", options("evaluation"))
def test_every_evaluation_can_be_named(name: str) -> None:
    """With everything from its file, at the end, on validation if it has a split."""
    node = chosen_evaluation(name, {})
    ((key, made),) = expand({name: {}}).items()
    has_split = "evaluate_on" in node
    assert key == (f"{name}_valid" if has_split else name) and made["evaluate_every"] == "end"
    assert made["name"].endswith("/Validation") is has_split
    assert made["evaluator"] == {**node, **({"evaluate_on": "valid"} if has_split else {})}


def test_one_evaluation_stands_twice_under_two_keys() -> None:
    rough = {"evaluation": "knn", "name": "Rough", "n_bank": 100, "on": "test"}
    found = expand({"knn": {}, "rough": rough})
    assert {key: node["name"] for key, node in found.items()} == {
        "knn_valid": "KNN/Validation",
        "rough_test": "Rough/Test",
    }


def test_a_mapping_is_merged_and_another_class_takes_a_nodes_place() -> None:
    change = {"noise": {"strengths": [0.5]}}
    noise = expand({"robustness": {"perturbations": change}})["robustness_valid"]["evaluator"]["perturbations"]["noise"]
    assert noise["strengths"] == [0.5] and noise["change"]["_partial_"] is True
    other = {"_target_": "frame.data.mnist.MNIST"}
    assert expand({"transfer": {"other": other}})["transfer_valid"]["evaluator"]["other"] == other
    assert laid_over({"_target_": "a", "x": 1}, {"x": 2}) == {"_target_": "a", "x": 2}


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"elbow": {}}, "evaluations.elbow: no evaluation 'elbow': did you mean 'elbo'?"),
        ({"mine": {"evaluation": "elbow"}}, "evaluations.mine: no evaluation 'elbow': did you mean 'elbo'?"),
        ({"../model/VAE": {}}, "no evaluation '../model/VAE'"),
        ({"elbo": {"n_sample": 3}}, "evaluations.elbo.n_sample: no argument of elbo 'n_sample': did you mean 'n_sampl"),
        ({"elbo": {"evry": "end"}}, "did you mean 'every'?"),
        ({"elbo": {"_target_": "a.B"}}, "no argument of elbo '_target_'"),
        ({"elbo": {"evaluate_on": "test"}}, "write evaluations.elbo.on=test"),
        ({"elbo": {"on": "validation"}}, "evaluations.elbo.on: no split 'validation': did you mean 'valid'?"),
        ({"elbo": {"on": ["valid", "valid"]}}, "name each split once"),
        ({"elbo": {"on": []}}, "name each split once: train, valid, test"),
        ({"elbo": {"on": {"valid": 1}}}, "'1' is not a duration"),
        ({"samples": {"on": "valid"}}, "evaluations.samples.on=valid: samples is measured on no split: leave it out"),
        ({"elbo": {"every": "ten seconds"}}, "evaluations.elbo.every: 'ten seconds' is not a duration"),
        ({"elbo": {"every": 5}}, "or end for only at the end"),
        ({"elbo": {"every": None}}, "is not a duration"),
        ({"elbo": "10 seconds"}, "evaluations.elbo=10 seconds: write what to change below it"),
        ({"elbo": ["valid"]}, "write what to change below it"),
        (["elbo"], "evaluations=['elbo']: write evaluations={elbo: {every: 1 epoch, on: valid}}, or evaluations=auto"),
        ("all", "evaluations=all: write"),
        (
            {"a": {"evaluation": "elbo"}, "a_valid": {"evaluation": "samples"}},
            "evaluations.a and evaluations.a_valid both make the callback 'a_valid'",
        ),
        (
            {"elbo": {}, "again": {"evaluation": "elbo"}},
            "evaluations.elbo and evaluations.again both make the measurement 'ELBO/Validation'",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_expanded_is_one_line(named: Any, says: str) -> None:
    with pytest.raises(UserError) as error:
        expand(named)
    assert says in str(error.value) and "\n" not in str(error.value)


ELBO = """\
evaluations:
  elbo: {every: 10 seconds, on: [train, valid], n_samples: "${params.batch_size}"}
  samples: {}
"""


def test_a_mapping_of_callbacks_is_laid_over_those_of_evaluations(own: Path) -> None:
    text = "callbacks: {elbo_valid: {evaluate_every: 1 epoch, evaluator: {n_samples: 5}}, mine: {_target_: a.B}}\n"
    found = written(own, ELBO + text)
    assert list(found) == ["elbo_train", "elbo_valid", "samples", "mine"]
    assert found["elbo_train"]["evaluator"]["n_samples"] == "${params.batch_size}"
    assert found["elbo_valid"]["evaluate_every"] == "1 epoch" and found["elbo_valid"]["evaluator"]["n_samples"] == 5
    assert found["elbo_valid"]["name"] == "ELBO/Validation"


def test_a_list_of_callbacks_is_continued(own: Path) -> None:
    (own / "experiment" / "mine.yaml").write_text(PARTS + ELBO + "callbacks: [{_target_: a.B}]\n")
    found = compose(["experiment=mine"]).callbacks
    assert [node.get("name") for node in found] == [None, "ELBO/Train", "ELBO/Validation", "Samples"]


def test_an_experiment_changes_its_parents_evaluations(own: Path) -> None:
    (own / "experiment" / "parent.yaml").write_text(PARTS + ELBO)
    text = "# @package _global_\ndefaults: [parent]\nevaluations: {elbo: {on: test}, samples: null, sparsity: {}}\n"
    (own / "experiment" / "child.yaml").write_text(text)
    found = compose(["experiment=child"]).callbacks
    assert list(found) == ["elbo_test", "sparsity_valid"] and found.elbo_test.evaluate_every == "10 seconds"


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (["evaluations.elbo.every=5 seconds"], ["elbo_train", "elbo_valid", "samples"]),
        (["evaluations.elbo.on=test"], ["elbo_test", "samples"]),
        (["+evaluations.elbo.name=Bound"], ["elbo_train", "elbo_valid", "samples"]),
        (["+evaluations.linear_probe={every: end, on: valid}"], ["elbo_train", "elbo_valid", "samples"] + ["linear_probe_valid"]),  # noqa: E501
        (["evaluations={elbo: {on: test}}"], ["elbo_test", "samples"]),
        (["~evaluations.elbo"], ["samples"]),
        (["evaluations.elbo=null"], ["samples"]),
        (["~evaluations.elbo.on"], ["elbo_valid", "samples"]),
        (["~callbacks.elbo_valid"], ["elbo_train", "samples"]),
        (["~evaluations.samples", "~callbacks.elbo_valid"], ["elbo_train"]),
        (["+evaluations.knn={}", "callbacks.knn_valid.evaluator.n_bank=5"], ["elbo_train", "elbo_valid", "samples", "knn_valid"]),  # noqa: E501
        (["callbacks.samples=null"], ["elbo_train", "elbo_valid", "samples"]),
        (["callbacks=null"], []),
        (["evaluations=null"], []),
        (["~evaluations"], []),
        (["evaluations=null", "+evaluations.samples={}"], ["samples"]),
        (["+callbacks.mine={_target_: a.B}"], ["elbo_train", "elbo_valid", "samples", "mine"]),
        (["data.binarize=none", "~evaluations.elbo"], ["samples"]),  # Hydra composes anew
    ],
    ids=str,
)  # fmt: skip
def test_what_is_typed_changes_evaluations_and_then_their_callbacks(
    own: Path, typed: list[str], keys: list[str]
) -> None:  # noqa: E501
    assert list(written(own, ELBO, *typed)) == keys


def test_what_is_typed_arrives_in_the_callback(own: Path) -> None:
    assert written(own, ELBO, "evaluations.elbo.every=5 seconds")["elbo_valid"]["evaluate_every"] == "5 seconds"
    assert written(own, ELBO, "evaluations.elbo.n_samples=7")["elbo_train"]["evaluator"]["n_samples"] == 7
    found = written(
        own, ELBO, "callbacks.elbo_valid.evaluator.n_samples=100", "callbacks.elbo_valid.evaluate_every=end"
    )
    assert found["elbo_valid"]["evaluator"]["n_samples"] == 100 and found["elbo_valid"]["evaluate_every"] == "end"
    assert found["elbo_train"]["evaluator"]["n_samples"] == "${params.batch_size}"
    assert found["elbo_train"]["evaluate_every"] == "10 seconds"


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("evaluations.elbow.every=end", "no key of evaluations 'elbow': did you mean 'elbo'?"),
        ("evaluations.knn={}", "no key of evaluations 'knn'. There are: elbo, samples (+evaluations.knn={} adds one)"),
        ("~evaluations.knn", "no key of evaluations 'knn'"),
        ("~evaluations.elbo.name", "no key of evaluations.elbo 'name'"),
        ("evaluations.elbo.every.more=1", "evaluations.elbo.every=10 seconds has no keys below it"),
        ("evaluations.elbo.every=1,2", "evaluations.elbo.every: a run has one value of it"),
        ("evaluations.elbo.n=1", "no argument of elbo 'n'"),
        ("evaluations=all", "evaluations=all: write"),
        ("evaluations=[elbo]", "evaluations=['elbo']: write"),
        ("callbacks.elbo_vald.evaluate_every=end", "did you mean 'callbacks.elbo_valid"),
        ("callbacks.elbo_valid.evaluator.n_samples=many", "wants a number"),
        ("callbacks.elbo_valid.evaluate_every=1,2", "write a file for `frame sweep`"),
    ],
)
def test_what_is_typed_wrongly_is_one_line(own: Path, typed: str, says: str) -> None:
    text = ELBO.replace('"${params.batch_size}"', "30") if "many" in typed else ELBO
    with pytest.raises(UserError) as error:
        written(own, text, typed)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_the_users_own_evaluation_comes_first(own: Path) -> None:
    (own / "evaluation" / "elbo.yaml").write_text("_target_: units.Mine\nn: ${params.batch_size}\nrate: 1e-3\n")
    found = written(own, "evaluations: {elbo: {rate: 2}}\n")
    assert found == {
        "elbo": {
            "_target_": "frame.callbacks.EvaluationCallback",
            "name": "elbo",  # without a name it is the file's
            "evaluate_every": "end",
            "evaluator": {"_target_": "units.Mine", "n": "${params.batch_size}", "rate": 2},
        }
    }
    assert chosen_evaluation("elbo", {})["rate"] == 1e-3


@pytest.mark.parametrize(
    ("text", "says"), [("n: 3\n", "has no _target_"), ("", "is empty"), ("a: [\n", "elbo.yaml: line")]
)
def test_a_broken_file_is_one_line(own: Path, text: str, says: str) -> None:
    (own / "evaluation" / "elbo.yaml").write_text(text)
    for read in (lambda: expand({"elbo": {}}), lambda: chosen_evaluation("elbo", {})):
        with pytest.raises(UserError, match=says):
            read()


def test_the_word_on_is_a_key_and_other_booleans_are_not(own: Path) -> None:
    """YAML 1.1 reads `on` as true."""
    assert "elbo_test" in written(own, "evaluations: {elbo: {on: test}}\n")
    with pytest.raises(UserError, match="YAML does not read the key yes as a text"):
        written(own, "evaluations: {elbo: {yes: test}}\n")


def test_auto_is_a_word_for_the_candidates(own: Path) -> None:
    (own / "experiment" / "mine.yaml").write_text(PARTS + ELBO)
    config = compose(["experiment=mine", "evaluations=auto", "~evaluations.samples", "evaluations.elbo.on=valid"])
    check_read(config)
    made = [key for key in expand(evaluations.candidates()) if key not in ("samples", "elbo_train")]
    assert config.evaluations == "auto" and list(config.callbacks) == made
    (own / "evaluations.yaml").write_text("samples: {every: 1 epoch}\n")
    assert list(compose(["experiment=mine", "evaluations=auto"]).callbacks) == ["samples"]
    assert "evaluations" not in compose(["experiment=mine", "evaluations=auto", "evaluations=null"])


BARE = ["model=VAE", "data=digits", "optimization=batch_ADAM"]


@pytest.mark.parametrize(
    ("typed", "made"),
    [
        ([], {"elbo_train", "elbo_valid", "accuracy_valid", "samples"}),
        (["evaluations.elbo.every=2 epochs", "~evaluations.samples"], {"elbo_valid", "accuracy_valid"}),
        (["callbacks.elbo_valid.evaluate_every=2 epochs", "~callbacks.samples"], {"elbo_valid", "accuracy_valid"}),
        (["evaluations=auto", "+evaluations.dci={}"], {"elbo_valid", "dci_valid"}),
        (["+evaluations.dci={}"], None),
        (["evaluations={dci: {}}"], None),
        (["evaluations=null"], None),
        (["callbacks=null"], None),
        (["+callbacks.mine={_target_: a.B}"], None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_without_an_experiment_evaluations_are_automatic_unless_something_is_named(
    typed: list[str], made: set[str] | None
) -> None:
    config = compose([*BARE, *typed])
    found = set(config.callbacks or ())
    if made is None:
        assert "evaluations" not in config and len(found) <= 1
    else:
        assert config.evaluations == "auto" and made <= found
        assert ("samples" in found) is not any("samples" in word for word in typed)


def test_neither_an_experiment_nor_data_alone_have_automatic_evaluations() -> None:
    for words in (["experiment=digits_VAE"], ["data=digits"], []):
        assert "evaluations" not in compose(words)


@pytest.mark.parametrize("listed", [True, False])
def test_auto_takes_no_name_of_the_experiments_callbacks(own: Path, listed: bool) -> None:
    node = "{_target_: frame.callbacks.EvaluationCallback, name: ELBO/Validation}"
    form = (
        f"callbacks: [{node}]\n" if listed else f"callbacks: {{bound: {node}, elbo_train: {{evaluate_every: end}}}}\n"
    )
    (own / "experiment" / "mine.yaml").write_text(PARTS + form)
    found = compose(["experiment=mine", "evaluations=auto"]).callbacks
    names = [found_node.name for found_node in (found if listed else found.values())]
    assert len(names) == len({*names}) == len(expand(evaluations.candidates()))
    assert listed or found.elbo_train.evaluate_every == "end" and "elbo_valid" not in found


def test_the_composed_config_is_shown_with_its_callbacks(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["experiment=digits_VAE", "+evaluations.knn={n_bank: 9}", "callbacks.knn_valid.evaluate_every=1 epoch"]
    assert ask_hydra([*words, "--cfg", "job"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["callbacks"]["knn_valid"]["evaluator"]["n_bank"] == 9 and "evaluations" not in shown
    assert shown["callbacks"]["knn_valid"]["evaluate_every"] == "1 epoch" and shown["seeds"]["init"] == "${seed}"


def test_an_evaluation_of_other_data_takes_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    found = chosen_evaluation("transfer", {"transfer.other": "images", "transfer.other.root": "mine"})["other"]
    assert found["_target_"] == "frame.data.images.Images" and found["root"] == "mine"
    assert found["data_root"] == str(tmp_path)  # this machine's
    others = chosen_evaluation("ood", {"ood.others.clothes": "FashionMNIST"})["others"]
    assert set(others) == {"shuffled", "noise", "digits", "clothes"}
    assert others["clothes"]["_target_"] == "frame.data.FashionMNIST.FashionMNIST"
    spelled = {"transfer.other": "{_target_: frame.data.MNIST.MNIST, data_root: here}"}
    assert chosen_evaluation("transfer", spelled)["other"] == {
        "_target_": "frame.data.MNIST.MNIST",
        "data_root": "here",
    }

    words = ["experiment=digits_VAE", "+evaluations.transfer.other=MNIST", "evaluations.transfer.other.binarize=static"]
    callbacks: Any = OmegaConf.to_container(compose(words).callbacks, resolve=False)
    node = callbacks["transfer_valid"]["evaluator"]["other"]
    assert node["_target_"] == "frame.data.MNIST.MNIST" and node["data_root"] == "${device.data_root}"
    assert node["binarize"] == "static"
    ood = expand({"ood": {"others": {"clothes": "FashionMNIST", "noise": None}}})["ood_valid"]["evaluator"]["others"]
    assert ood["clothes"]["_target_"].endswith("FashionMNIST") and ood["noise"] is None and "digits" in ood


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"transfer.other": "MNITS"}, "no data 'MNITS': did you mean 'MNIST'"),
        ({"transfer.other": "views"}, "views is made of other data"),
        ({"transfer.other": "MNIST", "transfer.other.rot": "1"}, "no argument of transfer.other 'rot'"),
        ({"transfer.layers.deep": "1"}, "transfer.layers.deep: layers=.* has no keys below it"),
        ({"ood.others.clothes": "Fashion"}, "no data 'Fashion': did you mean 'FashionMNIST'"),
    ],
)
def test_a_wrong_name_of_other_data_is_one_line(arguments: dict[str, str], says: str) -> None:
    name = next(iter(arguments)).split(".")[0]
    with pytest.raises(UserError, match=says) as error:
        chosen_evaluation(name, arguments)
    assert "\n" not in str(error.value)
    if len(arguments) == 1 and name == "transfer" and "other" in next(iter(arguments)):
        with pytest.raises(UserError, match=f"^evaluations.transfer: {says}"):
            expand({name: {"other": arguments["transfer.other"]}})
