"""frame.train and frame.evaluate, in one process."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import frame
from frame.commands.main import main
from tests.composition.test_session import state

QUIET: dict[str, Any] = {"logging": [], "evaluations": None, "doctor": None}
X = np.random.RandomState(0).rand(120, 6).astype(np.float32)
Y = (X[:, 0] > 0.5).astype(int)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 2)
        self.stop: Any = None

    def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
        if self.stop is not None and self.training:
            raise self.stop
        return nn.functional.cross_entropy(self.linear(batch["x"]), batch["y"])

    def predict(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x)
        return logits.log_softmax(1)


def weight(run: Any) -> Tensor:
    found: Tensor = run.model.module.linear.weight
    return found


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.fixture(scope="module")
def trained(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("python"))
    yield frame.train(model=net, data=(X, Y), train_for="20 iterations", **QUIET)
    os.chdir(before)


def test_words_and_keywords_are_those_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    more: dict[str, Any] = {"params": {"z_dim": 3}, "evaluations": {"elbo": {"on": "valid"}}, "logging": [], "seed": 3}
    run = frame.train("digits_VAE", "params.beta=0.1", train_for="2 iterations", **more)
    words = ["train", "+experiment=digits_VAE", "params.beta=0.1", "train_for=2 iterations", "params.z_dim=3"]
    assert main([*words, "evaluations={elbo:{on:valid}}", "logging=[]", "seed=3", "experiment_name=b"]) == 0
    other = frame.open(next((tmp_path / "runs" / "b").iterdir()))
    assert run.folder.plain == {**other.folder.plain, "experiment_name": "digits_VAE"}
    assert run.results.value.tolist() == other.results.value.tolist()
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), other.model.parameters(), strict=True))


def test_relative_paths_of_data_are_those_of_the_folder_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        rows = X if folder == "here" else X[:50]
        lines = [",".join(f"{value:.4f}" for value in (*row, row @ range(6))) for row in rows]
        (tmp_path / folder / "x.csv").write_text("\n".join(["a,b,c,d,e,f,y", *lines]))
    monkeypatch.chdir(tmp_path / "here")
    words = ["table_VAE", "data.train=x.csv", "data.label=y", "train_for=5 iterations"]
    folder = str(frame.train(*words, **QUIET).folder.path.resolve())
    for elsewhere in (tmp_path, tmp_path / "there"):  # which has another file of this name
        monkeypatch.chdir(elsewhere)
        assert len(frame.open(folder).data("train")) == 96
        assert main(["evaluate", folder, "evaluation=nearest_neighbour", "evaluate_on=valid"]) == 0
    assert main(["train", f"resume={folder}", "train_for=6 iterations"]) == 0
    capsys.readouterr()
    assert main(["list", folder, "columns=[data,nearest_neighbour/Validation/R2]"]) == 0
    assert "Table:x.csv" in capsys.readouterr().out
    assert main(["train", "model=Classifier", "data=table", f"data.train={tmp_path}/here/x.csv", "data.label=y"]) == 2
    assert "architectures/predictor=numbers or labels" in capsys.readouterr().err


def test_objects_make_a_run_like_any_other(trained: Any, net: Net, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(trained.folder.path)
    assert trained.status["state"] == "finished"
    assert not torch.equal(weight(trained), net.linear.weight), "a copy is trained"
    assert main(["list", "runs", "model=Net"]) == 0 and main(["show", path]) == 0
    assert "tests.engine.test_calls.Net" in capsys.readouterr().out
    found = frame.evaluate(trained, ["accuracy"], on="test")
    assert {"accuracy/Test"} <= set(found.name) and set(found.model) == {"Net"} and set(found.run) == {path}
    again = frame.evaluate("runs", "accuracy", on="test")
    assert again.value.tolist() == found.value.tolist(), "what was measured is returned, and not measured again"
    assert "1 of 1 measured already" in capsys.readouterr().out
    assert main(["compare", path, "metrics=[accuracy/Test]"]) == 0


def test_the_same_objects_give_the_same_bits(trained: Any, net: Net) -> None:
    other = frame.train(model=net, data=(X, Y), train_for="20 iterations", **QUIET)
    assert torch.equal(weight(other), weight(trained))


def test_what_cannot_be_built_again_is_told_in_one_line(trained: Any, net: Net, capsys: Any) -> None:
    path = str(trained.folder.path)
    for ask in (
        lambda: frame.open(path).model,
        lambda: frame.open(path).data("test"),
        lambda: frame.evaluate(path, "knn"),
        lambda: frame.train(resume=path, train_for="30 iterations"),
    ):
        with pytest.raises(frame.UserError, match="was an object .* give it again, frame.open") as error:
            ask()
        assert "\n" not in str(error.value)
    assert main(["train", f"resume={path}", "train_for=30 iterations"]) == 2
    assert "was an object" in capsys.readouterr().err
    opened = frame.open(path, model=net, data=(X, Y))
    assert torch.equal(weight(opened), weight(trained))
    with pytest.raises(frame.UserError, match="has other"):
        frame.open(path, model=net, data=(X + 1, Y)).data("test")


def test_a_run_goes_on_with_its_objects(net: Net, trained: Any) -> None:
    whole = frame.train(model=net, data=(X, Y), train_for="30 iterations", **QUIET)
    half = frame.train(model=net, data=(X, Y), train_for="10 iterations", **QUIET)
    path = half.folder.path
    resumed = frame.train(resume=path, model=net, data=(X, Y), train_for="20 iterations")
    resumed.resume(train_for="30 iterations")
    assert resumed.state["counters"]["iterations"] == 30
    assert torch.equal(weight(resumed), weight(whole))


@contextmanager
def interrupting(root: Path) -> Iterator[None]:
    """Sends SIGINT to this process once a run trains."""

    def send() -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until and not [*root.glob("*/*/metrics.jsonl")]:
            time.sleep(0.02)
        if [*root.glob("*/*/metrics.jsonl")]:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where the tests run
    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)


def test_an_interrupted_run_is_saved_and_goes_on(net: Net, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with interrupting(tmp_path / "runs"), pytest.raises(KeyboardInterrupt) as stopped:
        frame.train(model=net, data=(X, Y), train_for="1000000 iterations", trainer={"log_every_n_steps": 1}, **QUIET)
    run: Any = getattr(stopped.value, "run")  # noqa: B009
    assert run.status["state"] == "stopped" and run.status["reason"] == "SIGINT"
    done = run.state["counters"]["iterations"]
    text = str(stopped.value)
    assert f"is stopped after {done} iterations" in text and f"frame.train(resume='{run.folder.path}', model=" in text
    run.resume(train_for=f"{done + 5} iterations")
    assert run.status["state"] == "finished" and run.state["counters"]["iterations"] == done + 5


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("mine")])
def test_an_error_of_the_module_leaves_the_process_as_it_was(
    error: BaseException, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)

    class Late(Net):
        n = 0

        def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
            Late.n += 1
            if Late.n > 12:  # after the dry run
                raise error
            return super().compute_loss(batch)

    late = Late()
    before = state()
    with pytest.raises(type(error)):
        frame.train(model=late, data=(X, Y), train_for="100 iterations", **QUIET)
    after = state()
    assert {key for key in before if before[key] != after[key]} == set()


def test_calls_leave_the_process_as_it_was(trained: Any) -> None:
    before = state()
    frame.train("digits_VAE", train_for="1 iterations", **QUIET)
    frame.evaluate(trained, "accuracy", on="valid")
    after = state()
    assert {key for key in before if before[key] != after[key]} == set()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda run: frame.train("digits_VAE", beta=3), "no key 'beta': write params.beta=3"),
        (lambda run: frame.train("digits_VEA"), "no experiment 'digits_VEA': did you mean 'digits_VAE'?"),
        (lambda run: frame.train("digits_VAE", model=3), "model=3 is no torch.nn.Module (int)"),
        (lambda run: frame.train("digits_VAE", "data=digits", data=(X, Y)), "leave one of them out"),
        (lambda run: frame.train(model=Net()), "no data"),
        (lambda run: frame.train(model=Net(), data=(X[:, :2], Y)), "does not fit its input"),
        (lambda run: frame.train(model=Net(), data=X), "Net reads 'y' of a batch, which has: x"),
        (lambda run: frame.train(resume="nowhere"), "no run in nowhere"),
        (lambda run: frame.evaluate("nowhere", "knn"), "no run in nowhere"),
        (lambda run: frame.evaluate("runs", "knnn"), "no evaluation 'knnn': did you mean 'knn'?"),
        (lambda run: frame.evaluate("runs", "knn", split="test"), "no option of evaluate 'split'"),
        (lambda run: frame.evaluate("runs", "knn", knn={"k": 3}), "no argument of knn 'k'"),
        (lambda run: frame.evaluate(run, "knn", on="tset"), "no split 'tset': did you mean 'test'?"),
    ],
)
def test_errors_are_one_line(call: Any, said: str, trained: Any) -> None:
    with pytest.raises(frame.UserError) as error:
        call(trained)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert error.value._render_traceback_() == [f"frame: {error.value}"]


def test_dir_names_what_there_is() -> None:
    assert {"train", "evaluate", "open", "load", "results", "pretrained", "UserError"} <= set(dir(frame))
    for name in frame.HOMES:
        assert ">>>" in (getattr(frame, name).__doc__ or "") or name in ("UserError", "load", "pretrained")
