"""Properties of every joint-embedding method, found by folder: who moves what, and two ranks equal one process."""

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn

from frame.architectures.base import Encoder
from frame.architectures.projectors import Projector
from frame.architectures.resnet import ResNet
from frame.common.errors import UserError
from frame.common.ranks import mean_over_ranks
from frame.data.base import Batch
from frame.models.base import JointEmbeddingModel, Model, Teacher
from frame.models.BYOL import BYOL
from tests.models.test_every_model import FIRST, MODELS, build, model_class
from tests.processes import context

NAMES = [name for name in MODELS if issubclass(model_class(name), JointEmbeddingModel)]
WITH_TEACHERS = ("BYOL", "DINO", "MoCo")
N_ROWS, N_STEPS = 12, 3


def test_all_are_here() -> None:
    assert set(NAMES) >= {
        "BYOL", "BarlowTwins", "DINO", "LeJEPA", "MoCo", "SimCLR", "SimSiam", "SupCon", "VICReg",
    }  # fmt: skip


def copies(model: Model, kind: str) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in getattr(model, f"named_{kind}")()}


@pytest.mark.parametrize("name", NAMES)
def test_a_teacher_moves_by_its_average_alone_and_a_student_by_gradients_alone(name: str) -> None:
    torch.manual_seed(0)
    model, batch = build(FIRST[name])
    teachers = {path: module for path, module in model.named_modules() if isinstance(module, Teacher)}
    assert (name in WITH_TEACHERS) == bool(teachers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        weights, buffers = copies(model, "parameters"), copies(model, "buffers")
        theirs = {  # a teacher's weights have the names of the student's
            f"{path}.{part}": weight
            for path, teacher in teachers.items()
            for part, weight in teacher.named_buffers()
            if not part.endswith(("running", "decay.value"))
        }
        optimizer.zero_grad()
        model(batch)["loss"].backward()
        optimizer.step()
        moved = copies(model, "parameters")
        assert all(not torch.equal(moved[path], weights[path]) for path in weights), "a gradient misses one"
        for path, weight in theirs.items():
            assert torch.equal(weight, buffers[path]) and weight.grad is None, f"{path} moved by a gradient"
        model.after_update(1)
        assert all(torch.equal(value, moved[path]) for path, value in model.named_parameters()), "a student moved"
        for path, weight in theirs.items():
            teacher = next(of for of in teachers if path.startswith(f"{of}."))
            name_in_student = path.removeprefix(f"{teacher}.")
            for start, own in {"projector.0.": "projector.", "projector.1.": "prototypes."}.items():  # DINO's two parts
                name_in_student = re.sub(f"^{re.escape(start)}", own, name_in_student)
            decay = teachers[teacher].decay()
            expected = decay * buffers[path] + (1 - decay) * moved[name_in_student]
            torch.testing.assert_close(weight, expected, msg=path)


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_and_features_are_those_of_the_student(name: str) -> None:
    model, batch = build(FIRST[name])
    assert isinstance(model, JointEmbeddingModel)
    model.eval()
    features = model.features(batch["x"])
    torch.testing.assert_close(model.encode(batch["x"]).mean, model.projector(features))
    torch.testing.assert_close(features, model.encoder.features(batch["x"]))


@pytest.mark.parametrize("name", NAMES)
def test_one_view_and_one_row_are_refused(name: str) -> None:
    model, batch = build(FIRST[name])
    assert type(model).least_rows >= 2 and "views" in type(model).needs
    with pytest.raises(UserError, match="set data.n_views=2"):
        model({**batch, "views": batch["views"][:1]})


def rows_of(batch: Batch, rank: int, world: int) -> Batch:
    """A rank's share of the rows."""
    n = N_ROWS // world
    mine = slice(rank * n, (rank + 1) * n)
    return {"x": batch["x"][mine], "y": batch["y"][mine], "views": [view[mine] for view in batch["views"]]}


def train(model: Model, batch: Batch, rank: int, world: int) -> dict[str, Tensor]:
    """Three steps of SGD by the mean gradient over ranks, as DDP has it; the state, and the last loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for step in range(N_STEPS):
        torch.manual_seed(100 * step + rank)  # as in training: ranks draw different noise
        optimizer.zero_grad()
        losses = model(rows_of(batch, rank, world))
        losses["loss"].backward()
        for parameter in model.parameters():
            assert parameter.grad is not None
            mean_over_ranks(parameter.grad)
        optimizer.step()
        model.after_update(step + 1)
    return {**model.state_dict(), "loss": losses["loss"].detach()}


def in_a_rank(rank: int, pickled: bytes, folder: str) -> None:
    cases: dict[str, Any] = pickle.loads(pickled)
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = {name: train(model, batch, rank, 2) for name, (model, batch) in cases.items()}
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def of_two_ranks(cases: dict[str, Any], folder: Path) -> list[dict[str, dict[str, Tensor]]]:
    pickled = pickle.dumps(cases)  # as bytes: tensors that are sent to a process would share their memory
    ranks = [context.Process(target=in_a_rank, args=(rank, pickled, str(folder))) for rank in (0, 1)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(120)
    for rank in ranks:
        if rank.exitcode is None:
            rank.kill()
    assert [rank.exitcode for rank in ranks] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_equal_one_with_the_whole_batch(tmp_path: Path) -> None:
    """Weights, running statistics, teachers, queues, centres and random directions."""
    torch.manual_seed(0)
    cases = {name: build(FIRST[name]) for name in NAMES}
    pictures, batch = ResNet((1, 8, 8), width=2, shared_statistics=True), cases["BYOL"][1]
    cases["BYOL of maps"] = BYOL(Encoder(pictures, nn.Identity()), Projector(16, 4), Projector(4, 4), 0.9), batch
    both = of_two_ranks(cases, tmp_path)
    for name, (model, batch) in cases.items():
        first = copies(model, "parameters")
        alone = train(model, batch, 0, 1)
        assert any(not torch.equal(alone[path], weight) for path, weight in first.items()), name
        losses = [ranks[name].pop("loss") for ranks in both]
        # losses of all rows agree on all ranks; otherwise each has that of its own rows
        torch.testing.assert_close(sum(losses) / 2, alone.pop("loss"), rtol=1e-4, atol=1e-5)
        for path, value in alone.items():
            assert torch.equal(both[0][name][path], both[1][name][path]), f"{name}: {path} differs between ranks"
            torch.testing.assert_close(both[0][name][path], value, rtol=1e-4, atol=1e-5, msg=f"{name}: {path}")
