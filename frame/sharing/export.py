"""`frame export`: writes a run as a folder for others. Nothing in it names this machine, and nothing is executed.

README.md  config.yaml  model.safetensors  data.json  records.jsonl  metrics.csv  images/  source/  status.json
export.json
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from frame import __version__
from frame.common.errors import UserError
from frame.common.inside import name_of
from frame.composition.plain import as_yaml
from frame.engine.opening import TRAINED, OpenRun
from frame.engine.opening import open as open_run
from frame.runs.exported import FORMAT, MANIFEST, WEIGHTS, Export
from frame.runs.folder import FORMAT as RUN_FORMAT
from frame.runs.journal import RECORDS, Journal
from frame.runs.metrics import TABLE, write_table
from frame.runs.modules import File
from frame.runs.source import own_modules, place_of
from frame.sharing.card import Card
from frame.sharing.encoder import export_encoder, rows_of
from frame.sharing.hub import check_hub, upload_lines, write_card, write_config
from frame.sharing.private import Private

# left out of the exported experiment: they belong to the machine, or other values refer to them
APART = ("device", "logging", "params", "architectures")
HEAD = "# @package _global_\n# Every value is written out: change an argument in place, such as model.beta=...\n"
HUB = "huggingface"
TOLD = ("python", "torch", "lightning", "numpy")  # versions in the card


def export(
    folder: Path,
    *,
    out: Path | None = None,
    checkpoint: str = "last",
    weights: str | None = None,
    form: str = "safetensors",
    packages: Sequence[str] = (),
    tolerance: float = 1e-4,
    licence: str | None = None,
    source: str = TRAINED,
) -> Path:
    """Writes a run's export, completely or not at all, and returns its folder.

    Args:
        folder: the run.
        out: the export's folder; by default exports/<experiment>_<the run's name>.
        checkpoint: 'last' or 'best'.
        weights: 'average' or 'raw'; None: as the run's config says.
        form: 'safetensors': only the weights; 'onnx' or 'torch_export': also the encoder as a graph; 'huggingface': the
            weights, and what the Hugging Face hub reads: metadata in the card, and config.json.
        packages: see `frame.open`.
        tolerance: largest difference of the graph's outputs from the original, in units of the largest output, or 1.
        licence: the hub's identifier of the licence, such as 'mit'; only for 'huggingface'.
        source: 'trained' or 'now', see `frame.open`.

    Raises:
        UserError: there is no such run or checkpoint, the folder exists, the model may not be built, the graph differs,
            or something in the export would name this machine.
    """
    if form == HUB:
        check_hub(licence)
    elif licence is not None:
        raise UserError(f"license={licence} is for format={HUB}: leave it out")
    run = open_run(folder, packages=packages, checkpoint=checkpoint, weights=weights, source=source)
    if run.export is not None:
        raise UserError(f"{folder} is an export already: export the run that it was made from")
    name = f"{name_of(str(run.config.get('experiment_name')))}_{name_of(run.folder.path.resolve().name)}"
    out = out or Path("exports") / name
    if out.exists():
        raise UserError(f"{out} exists, and nothing is overwritten: choose another, out=...")
    state = run.folder.checkpoint(checkpoint)
    if state is None:
        raise UserError(f"{folder} has no {checkpoint} checkpoint yet")
    if state["average"] is None and weights == "average":
        raise UserError(f"{folder} keeps no average of its weights: leave weights=average out")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        with run.importing():
            _fill(temporary, run, state, form, tolerance, licence)
        temporary.chmod(0o755)
        os.rename(temporary, out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return out


def option_of(text: str) -> str:
    """A name as one that `+experiment=` takes unquoted: 'beta=0.5,seed=1' becomes 'beta_0_5_seed_1'."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:100]
    return name if name[:1].isalpha() else f"run_{name}".rstrip("_")


def _fill(folder: Path, run: OpenRun, state: dict[str, Any], form: str, tolerance: float, licence: str | None) -> None:
    raw = run.folder.stored
    device = run.folder.filled("device")
    private = Private([run.folder.path, folder.parent, device["data_root"], device["experiments_root"]])
    clean, variables = private.config(raw, str(device["data_root"]))
    name = option_of(str(raw.get("experiment_name")))
    experiment = {key: value for key, value in clean.items() if key not in APART}
    modules = _modules(run, raw)
    write_weights(folder / WEIGHTS, run.model.state_dict())
    _write_yaml(folder / "config.yaml", {**clean, "weights": run.kept})
    _write_yaml(folder / "source" / "config" / "experiment" / f"{name}.yaml", experiment, HEAD)
    places = {module: f"source/{place_of(module, Path(file.path))}" for module, file in modules.items()}
    for module, file in modules.items():
        target = folder / places[module]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
    _copy_results(folder, run, private)
    if run.folder.data:
        (folder / "data.json").write_text(json.dumps(run.folder.data, indent=2, ensure_ascii=False) + "\n")
    told = _versions(run)
    encoder = None
    if form not in ("safetensors", HUB):
        encoder = export_encoder(run.model, rows_of(run), form, folder, tolerance)
    manifest = {
        "format": FORMAT,
        "frame": __version__,
        "exported": datetime.now().isoformat(timespec="seconds"),
        "experiment": name,
        "checkpoint": run.checkpoint,
        "weights": run.kept,
        "counters": state["counters"],
        "versions": told,
        "modules": places,
        "source": run.trust.origin.name,
        "variables": variables,
        "encoder": encoder,
        "hub": form == HUB,
    }
    card = Card(run, clean, manifest, state["average"] is not None, private.without)
    text = card.text(folder)
    if form == HUB:
        write_card(folder / "README.md", text, clean, manifest, card.measured()[0], licence)
        write_config(folder / "config.json", clean, manifest)
    else:
        (folder / "README.md").write_text(text)
    # only files that are opened or run are checked; results may be added
    checked = ["config.yaml", WEIGHTS, *([encoder["file"]] if encoder else [])]
    checked += ["data.json"] if (folder / "data.json").exists() else []
    checked += sorted(str(path.relative_to(folder)) for path in (folder / "source").rglob("*") if path.is_file())
    manifest["files"] = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in checked}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    private.check(folder)
    Export(folder).verify()


def _modules(run: OpenRun, config: dict[str, Any]) -> dict[str, File]:
    """The user's own modules: those of the run, if they are known, and otherwise as they are found now.

    Raises:
        UserError: a module is not on the path.
    """
    source = run.trust.origin.source
    known = dict(source.files) if source is not None else {}
    found = own_modules(config, strict=not known)
    now = {name: File(path.read_bytes(), str(path), str(path)) for name, path in found.items() if name not in known}
    # a run's own modules are complete; a clone of frame may have new files beside them
    return known | {name: file for name, file in now.items() if not known or name.startswith("frame.")}


def write_weights(file: Path, weights: dict[str, Any]) -> None:
    """Writes tensors only, separately even if they share memory; then reads and compares them bit for bit.

    Raises:
        UserError: the model's state contains other values than tensors.
    """
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor):
            raise UserError(f"{name} in the model's state is a {type(tensor).__name__}: only tensors can be exported")
    own = {name: tensor.detach().clone().contiguous() for name, tensor in weights.items()}
    save_file(own, file)
    file.chmod(0o644)
    again = load_file(file)
    assert again.keys() == own.keys()
    for name, tensor in own.items():
        same = tensor.dtype == again[name].dtype and torch.equal(_bits(tensor), _bits(again[name]))
        assert same, f"{name} changed in {file}"


def _bits(tensor: Tensor) -> Tensor:
    # compares bytes, because NaN is not equal to itself
    return tensor.reshape(-1).view(torch.uint8)


def _write_yaml(file: Path, config: dict[str, Any], head: str = "") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(head + as_yaml(config))


def _copy_results(folder: Path, run: OpenRun, private: Private) -> None:
    """Copies records, curves and the newest pictures, without texts that name this machine."""
    records = [
        {key: private.without(value) if isinstance(value, str) else value for key, value in record.items()}
        for record in run.folder.records
    ]
    for record in records:
        for key in ("evaluation", "together"):  # they refer to notes, which are not exported
            record.pop(key, None)
    (folder / RECORDS).touch()
    Journal(folder / RECORDS).append(*records)
    write_table(run.folder.path, folder / TABLE)
    for picture in run.folder.newest_pictures:
        target = folder / picture.relative_to(run.folder.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target)
    status = run.status
    ended = status.get("state") in ("finished", "stopped")  # the reason of a failure is a traceback
    kept = {"format": RUN_FORMAT, "state": status["state"] if ended else "stopped", "at": status.get("at")}
    reason = private.without(str(status.get("reason", ""))) if ended else "exported before it was finished"
    (folder / "status.json").write_text(json.dumps({**kept, "reason": reason}, indent=2) + "\n")


def _versions(run: OpenRun) -> dict[str, Any]:
    """The versions and the hardware that the run was trained with, if its folder names them."""
    told: dict[str, Any] = {}
    for file in ("environment.json", "code.json"):
        path = run.folder.path / file
        told |= json.loads(path.read_text()) if path.exists() else {}
    installed = {name.lower(): version for name, version in (told.get("packages") or {}).items()}
    versions = {"python": told.get("python"), "frame": told.get("frame")}
    versions |= {name: installed.get(name) for name in TOLD[1:]}
    beside = {
        "commit": told.get("commit"),
        "dirty": told.get("dirty"),
        "gpus": told.get("gpus"),
        "cpus": told.get("cpus"),
    }
    return {name: value for name, value in {**versions, **beside}.items() if value is not None}


def said(folder: Path, licence: str | None = None) -> str:
    """A description of an export for the terminal."""
    manifest = Export(folder).manifest
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    count = f"iteration {manifest['counters']['iterations']:.0f}"
    lines = [f"exported  {folder}, {size / 1e6:.1f} MB: {manifest['checkpoint']} checkpoint, {count}"]
    lines[0] += f", {manifest['weights']} weights"
    encoder = manifest["encoder"]
    if encoder is not None:
        difference = f"differs by at most {encoder['max_abs_difference']:.2g} (allowed: {encoder['tolerance']:.2g})"
        lines.append(f"encoder   {folder / encoder['file']}: {difference} on {encoder['compared_on']}")
    lines += [f"source    {folder / file}" for file in manifest["modules"].values()]
    lines += [f"variable  {name} stands for {key}" for name, key in manifest["variables"].items()]
    lines += upload_lines(folder, licence) if manifest["hub"] else []
    consent = ", trust_source=True" if manifest["modules"] else ""
    lines.append(f'load      frame.load("{folder}"{consent})')
    return "\n".join(lines)
