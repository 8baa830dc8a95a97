"""How each argument of Lightning's Trainer is checked, or what to write instead. Nothing here imports torch."""

from collections.abc import Callable, Mapping
from typing import Any

from frame.common.errors import UserError, choices

Check = Callable[[str, Any], str]  # takes a name and a value; returns '' or what to write


def _whole(least: int) -> Check:
    def check(name: str, value: Any) -> str:
        good = isinstance(value, int) and not isinstance(value, bool) and least <= value <= 10**9
        return "" if good else f"write a whole number, at least {least}"

    return check


def _above_zero(name: str, value: Any) -> str:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e30
    return "" if good else "must be above 0, or null"


def _part(name: str, value: Any) -> str:
    if isinstance(value, float) and 0 < value <= 1:
        return ""
    return _whole(1)(name, value) and "write a whole number of batches, at least 1, or a part of them in (0, 1]"


def _truth(name: str, value: Any) -> str:
    return "" if isinstance(value, bool) else "write true or false"


def _one_of(*valid: Any) -> Check:
    def check(name: str, value: Any) -> str:
        if any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in valid):
            return ""
        return choices(str(value), sorted({str(one) for one in valid}), kind="choice")

    return check


def _precision(name: str, value: Any) -> str:
    if str(value) in ("16-mixed", "16"):
        return "it needs a loss scaler, and there is none here: use bf16-mixed"
    if str(value) in ("16-true", "bf16-true", "64", "64-true"):
        return "batches come in float32, and weights stay there: use bf16-mixed, or leave it out"
    return _one_of("32", "32-true", "bf16", "bf16-mixed")(name, str(value))


def _devices(name: str, value: Any) -> str:
    if isinstance(value, list) and value and all(_whole(0)(name, one) == "" for one in value):
        return ""
    if value in ("auto", -1, "-1") or isinstance(value, str) and value.isascii() and value.isdigit() and int(value):
        return ""
    return _whole(1)(name, value)


def _instead(text: str) -> Check:
    return lambda name, value: text


EVALUATIONS = "evaluations are callbacks here: callbacks.<name>.evaluate_every='1 epoch'"
LENGTH = "a run trains exactly as long as train_for: leave it out"
NOTHING = "it changes nothing here: leave it out"
OURS = "frame has its own: leave it out"
# engine/trainer.py translates limits, clipping and accumulation. All others that have a check are passed on.
SETTINGS: dict[str, Check] = {
    "max_epochs": _whole(-1),
    "max_steps": _whole(-1),
    "max_time": _instead(""),
    "limit_train_batches": _part,
    "accumulate_grad_batches": _whole(1),
    "gradient_clip_val": _above_zero,
    "gradient_clip_algorithm": _one_of("norm"),
    "log_every_n_steps": _whole(0),
    "accelerator": _one_of("auto", "cpu", "gpu", "cuda", "mps"),
    "strategy": _one_of("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false", "fsdp2"),
    "devices": _devices,
    "num_nodes": _whole(1),
    "precision": _precision,
    "deterministic": _one_of(True, False, "warn"),
    "benchmark": _truth,
    "detect_anomaly": _truth,
    "sync_batchnorm": _truth,
    "profiler": _one_of("simple", "advanced"),
    "fast_dev_run": _instead("use debug=fast"),
    "overfit_batches": _instead("use debug=overfit"),
    "min_epochs": _instead(LENGTH),
    "min_steps": _instead(LENGTH),
    "limit_val_batches": _instead(EVALUATIONS),
    "limit_test_batches": _instead(EVALUATIONS),
    "limit_predict_batches": _instead(EVALUATIONS),
    "val_check_interval": _instead(EVALUATIONS),
    "check_val_every_n_epoch": _instead(EVALUATIONS),
    "num_sanity_val_steps": _instead(EVALUATIONS),
    "logger": _instead("use logging=[csv] or another file of config/logging/"),
    "callbacks": _instead("callbacks have a section of their own: +callbacks.<name>={_target_: ...}"),
    "enable_checkpointing": _instead("use checkpoint.every=..., or null for only at the end"),
    "enable_progress_bar": _instead(OURS),
    "enable_model_summary": _instead("frame show RUN tells the model's size: leave it out"),
    "use_distributed_sampler": _instead(OURS),
    "reload_dataloaders_every_n_epochs": _instead(OURS),
    "default_root_dir": _instead("use device.experiments_root=..."),
    "plugins": _instead("precision and strategy are settings of their own: leave it out"),
    "barebones": _instead(NOTHING),
    "inference_mode": _instead(NOTHING),
    "enable_autolog_hparams": _instead(NOTHING),
    "model_registry": _instead(NOTHING),
}


def check_trainer(settings: Mapping[str, Any]) -> None:
    """Raises UserError if a setting is unknown, has a wrong type or range, or conflicts with how a run is stepped."""
    for key, value in settings.items():
        if key not in SETTINGS:
            raise UserError(f"trainer.{key}: {choices(str(key), SETTINGS, kind='argument of the Trainer')}")
        if value is None or isinstance(value, str) and "${" in value:
            continue
        said = SETTINGS[key](key, value)
        if said:
            raise UserError(f"trainer.{key}={value}: {said}")
