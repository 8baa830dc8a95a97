"""Lightning's Trainer. Settings that it refuses or ignores in manual optimization go to the optimization."""

import logging
import os
import warnings
from typing import Any

import torch
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf

from frame.common.errors import UserError
from frame.composition.trainer_settings import check_trainer
from frame.optimization.base import Optimization

# set where something else starts the ranks
STARTED = ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID", "WORLD_SIZE", "GROUP_RANK")


def translate(config: DictConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits the trainer's settings into those of the optimization and those of Lightning."""
    settings: Any = OmegaConf.to_container(config.trainer, resolve=True)
    check_trainer(settings)
    mine: dict[str, Any] = {}
    for key, argument in (("accumulate_grad_batches", "accumulate"), ("gradient_clip_val", "clip")):
        if settings.get(key) is not None:
            mine[argument] = settings[key]
        settings.pop(key, None)
    for key in ("max_epochs", "max_steps", "max_time", "limit_train_batches", "gradient_clip_algorithm"):
        settings.pop(key, None)
    return mine, {str(key): value for key, value in settings.items() if value is not None}


def make_trainer(config: DictConfig, settings: dict[str, Any], optimization: Optimization) -> Trainer:
    """Lightning's Trainer on the device that the config names."""
    gpus = config.device.gpus
    n_gpus = torch.cuda.device_count() if gpus == "auto" else gpus
    if not isinstance(n_gpus, int) or n_gpus < 0:
        raise UserError(f"device.gpus={gpus}: write a number, 0 for the CPU, or auto")
    if n_gpus > torch.cuda.device_count():
        raise UserError(
            f"device.gpus={n_gpus}, but this machine shows {torch.cuda.device_count()}: set device.gpus=auto"
        )
    placed: dict[str, Any] = {"accelerator": "gpu" if n_gpus else "cpu", "devices": n_gpus or 1}
    if n_gpus > 1:
        placed["strategy"] = "ddp"
    placed |= settings
    processes = placed["devices"] if str(placed["devices"]).isdigit() else 1
    on_cpu = placed["accelerator"] == "cpu" or placed["accelerator"] == "auto" and not torch.cuda.is_available()
    most = max(8, os.cpu_count() or 1)
    if on_cpu and int(processes) > most:
        raise UserError(
            f"trainer.devices={processes}: that many processes only wait for one another: at most {most} here"
        )
    nodes = int(placed.get("num_nodes") or 1)
    if nodes > 1 and not any(name in os.environ for name in STARTED):
        raise UserError(
            f"trainer.num_nodes={nodes}: it would wait for the other nodes: start it by frame sweep with "
            "launcher=submitit, or by srun or torchrun on each node"
        )
    together = int(processes) * nodes
    if together > 1 and placed.get("strategy") in (None, "auto"):
        placed["strategy"] = "ddp"
    if placed.get("strategy") == "ddp" and optimization.find_unused_parameters:
        placed["strategy"] = "ddp_find_unused_parameters_true"
    try:
        return Trainer(
            **{
                "logger": False,
                "max_epochs": -1,
                "enable_checkpointing": False,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "use_distributed_sampler": False,
                "num_sanity_val_steps": 0,
                **placed,
            }
        )
    except Exception as error:  # Lightning's errors about arguments have no common base
        raise UserError(f"trainer: {str(error).strip().splitlines()[0]}") from None


def quiet() -> None:
    """Silences Lightning's notes on hardware and its hints, which do not help users of `frame`."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # debug=profile prints its table there
    for text in (
        ".*does not have many workers.*",
        ".*number of training batches.*",
        ".*`training_step` returned.*",
        ".*LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", text)
