"""Exports a trained model's encoder as a graph, ONNX or torch.export, and checks it against the original."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.data.base import whole_batch
from frame.data.identity import DataChanged
from frame.engine.opening import OpenRun
from frame.evaluation.base import Encodes, HasFeatures, given

FILES = {"onnx": "encoder.onnx", "torch_export": "encoder.pt2"}
ROWS = 64
SIZES = (64, 1, 7)  # batch sizes for the comparison


class Encoder(nn.Module):
    """The mean and, if there is one, the scale of q(z|x); or the features of a model without a code."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.names: tuple[str, ...] = ()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if not isinstance(self.model, Encodes):
            assert isinstance(self.model, HasFeatures)
            return (self.model.features(*inputs),)
        q_z_given_x = self.model.encode(*inputs)
        if self.names == ("mean",):
            return (q_z_given_x.mean,)
        return q_z_given_x.mean, q_z_given_x.variance.sqrt()

    def name_outputs(self, inputs: Sequence[Tensor]) -> None:
        """The names of the outputs.

        Raises:
            UserError: the model has neither a code with a mean, nor features.
        """
        name = type(self.model).__name__
        if not isinstance(self.model, Encodes | HasFeatures):
            raise UserError(f"{name} has neither encode() nor features(): there is no encoder to export")
        if not isinstance(self.model, Encodes):
            self.names = ("features",)
            return
        mean, scale = self(*inputs)
        if not mean.isfinite().all():
            raise UserError(f"{name}'s code has no mean, which is what would be exported")
        self.names = ("mean", "scale") if scale.isfinite().all() and scale.any() else ("mean",)


@dataclass
class Rows:
    """The rows for the comparison."""

    names: tuple[str, ...]
    tensors: list[Tensor]
    what: str  # a description of them


def rows_of(run: OpenRun) -> Rows:
    """Rows of the run's data, not of the training split if possible; random rows if the data is not on this machine.

    Raises:
        UserError: the data is not on this machine and the shapes of its rows are unknown; or it is not the data that
            the run was trained on.
    """
    names = tuple(getattr(run.model, "inputs", ("x",)))
    splits = run.data_set.splits
    split = next((split for split in ("test", "valid") if split in splits), splits[0])
    try:
        source = run.data(split)
        batch = whole_batch(source, torch.arange(min(ROWS, len(source))))
        tensors = given(run.model, batch)
        return Rows(names, tensors, f"{len(tensors[0])} rows of {split}")
    except DataChanged:
        raise
    except UserError:
        if names != ("x",) or not isinstance(getattr(type(run.data_set), "shape", None), tuple):
            raise
    x = torch.rand(ROWS, *run.data_set.shape, generator=torch.Generator().manual_seed(0))
    return Rows(names, [x], f"{ROWS} random rows, since the data is not here")


def export_encoder(model: nn.Module, rows: Rows, form: str, folder: Path, tolerance: float) -> dict[str, Any]:
    """Writes the encoder's graph into the folder, reads it again, compares it, and returns the result.

    Raises:
        UserError: there is no encoder, it cannot be captured, or its outputs differ by more than the tolerance.
    """
    needed = ("onnx", "onnxscript", "onnxruntime") if form == "onnx" else ()
    for package in needed:
        try:
            __import__(package)
        except ImportError:
            raise UserError(
                f"format=onnx needs {', '.join(needed)}: pip install 'frame-representations[export]'"
            ) from None
    encoder = Encoder(deepcopy(model).eval().requires_grad_(False))
    file = folder / FILES[form]
    with torch.no_grad(), quiet():
        encoder.name_outputs(rows.tensors)
        try:
            _write(encoder, rows, form, file)
        except Exception as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UserError(f"the encoder cannot be captured as {form}: {reason.strip()[:200]}") from error
        difference, largest = _compare(encoder, rows, form, file)
    limit = tolerance * max(1.0, largest)
    if not difference <= limit:
        raise UserError(
            f"the {form} encoder differs from the original by {difference:.2g}, more than {limit:.2g}: nothing is "
            "written. tolerance=... sets another limit"
        )
    return {
        "file": file.name,
        "format": form,
        "inputs": list(rows.names),
        "outputs": list(encoder.names),
        "compared_on": f"{rows.what}, in batches of {', '.join(map(str, SIZES))}",
        "max_abs_difference": difference,
        "tolerance": limit,
    }


def _write(encoder: Encoder, rows: Rows, form: str, file: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    shapes = (tuple({0: batch} for _ in rows.tensors),)  # *inputs is one argument

    def captured() -> torch.export.ExportedProgram:
        # the file contains its example, so the rows are blank: no data may be published
        example = tuple(torch.zeros_like(tensor) for tensor in rows.tensors)
        program = torch.export.export(encoder, example, dynamic_shapes=shapes, strict=False)
        for node in program.graph_module.graph.nodes:  # contains lines of source code with their paths
            for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node"):
                node.meta.pop(key, None)
        return program

    program = captured()
    if form == "torch_export":
        if _without_unused(encoder.model, program):
            program = captured()
        torch.export.save(program, file)
        return
    import onnx_ir

    made = torch.onnx.export(
        program,
        input_names=list(rows.names),
        output_names=list(encoder.names),
        dynamo=True,
        verbose=False,
    )
    assert made is not None
    ends = (*made.model.graph.inputs, *made.model.graph.outputs)
    for value in ends:
        if value.shape is not None:
            value.shape[0] = onnx_ir.SymbolicDim("batch")
    named = {value.name for value in ends}
    for value in chain.from_iterable(node.outputs for node in made.model.graph.all_nodes()):
        if value.name in named and not any(value is end for end in ends):  # such as 'mean', of x.mean()
            value.name = f"inner_{value.name}"
    things: tuple[Any, ...] = (made.model, made.model.graph, *made.model.graph.all_nodes())
    for thing in things:
        thing.metadata_props.clear()
    made.save(file, external_data=None)


def _without_unused(model: nn.Module, program: torch.export.ExportedProgram) -> bool:
    """Removes the networks that the graph does not use, such as the decoder."""
    used = {node.name for node in program.graph_module.graph.nodes if node.op == "placeholder" and node.users}
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    needed = {names[place].split(".")[1] for place in used & set(names)}  # model.encoder.head.weight
    unused = [name for name, child in model.named_children() if name not in needed and child.state_dict()]
    for name in unused:
        setattr(model, name, nn.Identity())
    return bool(unused)


def _compare(encoder: Encoder, rows: Rows, form: str, file: Path) -> tuple[float, float]:
    """The largest difference of the file's outputs from the encoder's, and the largest output."""
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])

        def outputs(inputs: list[Tensor]) -> list[Tensor]:
            fed = {name: tensor.numpy() for name, tensor in zip(rows.names, inputs, strict=True)}
            return [torch.as_tensor(array) for array in session.run(list(encoder.names), fed)]

    else:
        module = torch.export.load(file).module()

        def outputs(inputs: list[Tensor]) -> list[Tensor]:
            return list(module(*inputs))

    difference = largest = 0.0
    for size in SIZES:
        inputs = [tensor[:size].contiguous() for tensor in rows.tensors]
        for ours, theirs in zip(encoder(*inputs), outputs(inputs), strict=True):
            gap = (ours.double() - theirs.double()).abs().max().item()
            difference = max(difference, gap) if gap == gap else float("inf")  # NaN counts as a difference
            largest = max(largest, ours.abs().max().item())
    return difference, largest


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the exporters' warnings on missing packages and on their own internals."""
    former = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(former)
