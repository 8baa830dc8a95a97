"""Lightning's Trainer. Settings that it refuses or ignores in manual optimization go to the optimization."""

import logging
import os
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from omegaconf import DictConfig, OmegaConf

from frame.common.errors import UserError
from frame.composition.trainer_settings import check_trainer
from frame.optimization.base import Optimization
from frame.optimization.execution import Eager
from frame.optimization.sharded import Sharded

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


def in_parts(config: DictConfig, settings: Mapping[str, Any]) -> bool:
    """Whether the run's model will be split over several processes."""
    placed = _placed(config, settings)
    return placed.get("strategy") == "fsdp2" and _processes(placed) * _nodes(placed) > 1


def _placed(config: DictConfig, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Lightning's settings with the device that the config names."""
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
    return {**placed, **settings}


def _processes(placed: Mapping[str, Any]) -> int:
    """On each machine."""
    return int(placed["devices"]) if str(placed["devices"]).isdigit() else 1


def _nodes(placed: Mapping[str, Any]) -> int:
    return int(placed.get("num_nodes") or 1)


def make_trainer(config: DictConfig, settings: dict[str, Any], optimization: Optimization) -> Trainer:
    """Lightning's Trainer on the device that the config names."""
    placed = _placed(config, settings)
    processes, nodes = _processes(placed), _nodes(placed)
    on_cpu = placed["accelerator"] == "cpu" or placed["accelerator"] == "auto" and not torch.cuda.is_available()
    most = max(8, os.cpu_count() or 1)
    if on_cpu and processes > most:
        raise UserError(
            f"trainer.devices={processes}: that many processes only wait for one another: at most {most} here"
        )
    shown = torch.cuda.device_count()
    if not on_cpu and 0 < shown < processes:
        raise UserError(f"trainer.devices={processes}, but this machine shows {shown}: set trainer.devices={shown}")
    if nodes > 1 and not any(name in os.environ for name in STARTED):
        raise UserError(
            f"trainer.num_nodes={nodes}: it would wait for the other nodes: start it by frame sweep with "
            "launcher=submitit, or by srun or torchrun on each node"
        )
    together = processes * nodes
    if placed.get("strategy") == "fsdp2":
        placed["strategy"] = _sharding(optimization, settings) if together > 1 else "auto"
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


def _sharding(optimization: Optimization, settings: Mapping[str, Any]) -> ModelParallelStrategy:
    """Lightning's strategy for models that split themselves, which the optimization's is told to do.

    Raises:
        UserError: steps are not executed eagerly, or normalisations would share statistics.
    """
    if type(optimization.execution) is not Eager:
        kind = type(optimization.execution).__name__.lower()
        raise UserError(
            f"execution={kind} takes whole parameters, and trainer.strategy=fsdp2 splits them: set "
            "execution=eager, or trainer.strategy=ddp"
        )
    if settings.get("sync_batchnorm"):
        raise UserError(
            "trainer.sync_batchnorm has no effect with trainer.strategy=fsdp2: set shared_statistics=true of "
            "the networks, or trainer.strategy=ddp"
        )
    optimization.execution = Sharded(optimization.execution.channels_last)
    return ModelParallelStrategy()


def quiet() -> None:
    """Silences notes of Lightning and of torch's compiler that do not help users of `frame`."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # debug=profile prints its table there
    for text in (
        ".*does not have many workers.*",
        ".*number of training batches.*",
        ".*`training_step` returned.*",
        ".*LeafSpec.*",
        ".*torch._prims_common.check.*",  # from torch's compiler to itself
        ".*returned a view tensor.*",  # with parts; what goes wrong with it is found before training
    ):
        warnings.filterwarnings("ignore", text)
