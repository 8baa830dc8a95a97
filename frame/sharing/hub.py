"""What the Hugging Face hub reads in an export: the card's metadata and config.json."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from frame.common.errors import UserError
from frame.runs.source import packages_of

UNKNOWN = "unknown"  # the hub's word for a model whose licence is not given


def check_hub(licence: str | None) -> None:
    """Raises UserError if huggingface_hub is not installed, or the licence is no identifier such as 'mit'."""
    try:
        import huggingface_hub  # noqa: F401
    except ImportError:
        raise UserError("format=huggingface needs huggingface_hub: pip install huggingface_hub") from None
    if licence is not None and not all(part.isalnum() for part in licence.replace(".", "-").split("-")):
        raise UserError(f"license={licence}: write an identifier of the hub, such as mit, apache-2.0 or cc-by-4.0")


def write_card(
    file: Path,
    text: str,
    config: Mapping[str, Any],
    manifest: Mapping[str, Any],
    measured: Iterable[Mapping[str, Any]],
    licence: str | None,
) -> None:
    """Writes the card with the metadata that the hub reads, by huggingface_hub's own classes.

    Args:
        file: README.md.
        text: the card.
        config: the run's config, for any machine.
        manifest: the content of export.json.
        measured: the records of these weights, each a number with its split.
        licence: the hub's identifier, or None.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    data, model = _name(config["data"]), _name(config["model"])
    results = [
        EvalResult(
            task_type="feature-extraction",
            dataset_type=data.lower(),
            dataset_name=data,
            dataset_split=str(record["split"]),
            metric_type=str(record["name"]).split("/")[0].lower(),
            metric_name=f"{record['name']}{f' ({unit})' if (unit := record.get('unit')) else ''}",
            metric_value=float(record["value"]),
        )
        for record in measured
        if isinstance(record.get("value"), int | float)
    ]
    card_data = ModelCardData(
        license=licence or UNKNOWN,
        library_name="frame",
        pipeline_tag="feature-extraction",
        tags=["frame", "representation-learning", model, data],
        model_name=str(manifest["experiment"]) if results else None,
        eval_results=results or None,
    )
    ModelCard(f"---\n{card_data.to_yaml()}\n---\n\n{text}").save(file)


def write_config(file: Path, config: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Writes config.json, by whose downloads the hub counts: the classes and their arguments, and the versions."""
    model = {"model": config["model"], "data": config["data"]}
    content = {
        "library_name": "frame",
        "model_type": _name(config["model"]),
        "architectures": [_name(config["model"])],
        "frame_version": manifest["frame"],
        "packages": packages_of(model),
        **model,
    }
    file.write_text(json.dumps(content, indent=2, default=str) + "\n")


def upload_lines(folder: Path, licence: str | None) -> Sequence[str]:
    """How the folder gets onto the hub, in words for the terminal."""
    none = [] if licence else ["licence   none is given, so nobody may use it: export again with license=mit, ..."]
    return [*none, f"upload    hf upload USER/NAME {folder}, then frame.load('USER/NAME')"]


def _name(node: Mapping[str, Any]) -> str:
    return str(node["_target_"]).rpartition(".")[2] if "_target_" in node else "data"
