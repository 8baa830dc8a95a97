"""`frame export`: a run as a folder for others."""

from collections.abc import Sequence
from pathlib import Path

from frame.commands.beside import trust
from frame.commands.parser import Command, Key, parse
from frame.commands.readers import above_zero, folder, names, one_of, text
from frame.common.files import writing
from frame.composition.folders import use_own_folder

COMMAND = Command(
    "export",
    "RUN",
    "a folder for others: weights, config, source, results and a model card",
    {
        "out": Key(folder, "the folder to write", "exports/, and the names of the run"),
        "checkpoint": Key(one_of("last", "best"), "which weights of the run", "last"),
        "weights": Key(
            one_of("average", "raw"), "averaged ones, if the run keeps them, or raw ones", "as the run says"
        ),
        "format": Key(
            one_of("safetensors", "onnx", "torch_export", "huggingface"),
            "weights alone, or a program, too; huggingface: a folder that the hub takes",
            "safetensors",
        ),
        "license": Key(text, "of a model on the hub", "unknown", "mit"),
        "source": Key(one_of("trained", "now"), "your own modules: as the run was trained, or as they are", "trained"),
        "packages": Key(names, "packages of yours that the run's config may build from", "none"),
        "tolerance": Key(above_zero, "largest relative difference between a program and the model", "1e-4"),
    },
    (
        ("frame export runs/digits_VAE/2026-11-28_10-00-00", "weights, config and card"),
        ("frame export runs/digits_VAE/2026-11-28_10-00-00 format=onnx out=shared/VAE", "with a program for ONNX"),
        ("frame export runs/digits_VAE/2026-11-28_10-00-00 format=huggingface license=mit", "for the Hugging Face hub"),
    ),
    places=(1, 1),
    needs="export takes one run",
    among="runs",
)


def run(words: Sequence[str]) -> int:
    """`frame export`."""
    typed = parse(COMMAND, words)
    use_own_folder(typed.config_dir, trains=False)
    trust(typed.options.get("packages", []))
    form = typed.options.pop("format", "safetensors")
    licence = typed.options.pop("license", None)
    from frame.sharing.export import export as write
    from frame.sharing.export import said

    with writing(typed.options.get("out", Path("exports"))):
        written = write(Path(typed.places[0]), form=form, licence=licence, **typed.options)
    print(said(written, licence))
    return 0
