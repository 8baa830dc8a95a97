"""Reports problems while a model trains, and what to try against them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from frame.callbacks.base import Context, optimization_of
from frame.common.durations import Duration, Share, parse_length
from frame.common.errors import UserError, at_least
from frame.common.output import say
from frame.common.ranks import gathered, in_parts
from frame.data.base import Batch
from frame.evaluation.base import batches, evaluating
from frame.evaluation.vital_signs import Embeds, vital_signs
from frame.optimization.base import Optimization

Signs = Mapping[str, float]
WINDOW = 50  # iterations in each mean loss of the history
WINDOWS = 10  # values of the history before a loss or a contest is judged
TREND = 2  # looks at rows over which the signal of embeddings, or what tells classes apart, rises or falls
NOISE = 0.002  # by which that signal changes if embeddings are dead
SETTLED = 8  # looks before it is judged what tells classes apart: healthy runs may lose some of it at first
ADVICE = ". Try "  # what follows in a text is said once


@dataclass(frozen=True)
class Diagnosis:
    """A problem: `holds` decides from the named signs whether it exists, and `text` shows them by name.

    It is reported after so many judgements in a row as the doctor's patience, times its own.
    """

    name: str
    signs: tuple[str, ...]
    holds: Callable[[Signs], bool]
    text: str
    patience: int = 1


def fewest_directions(signs: Signs) -> float:
    """The number of directions below which codes have collapsed.

    With noise, which may switch latents off for good, it is 2 for 5 latents or more, else 1. Without noise it is
    between 1 and 2, or a 64th of the latents if that is more. It is less than a classifier's codes need, which is one
    direction for two classes.
    """
    n = signs["n_latents"]
    if "information" in signs:
        fewest = 2.0 if n > 4 else 1.0
    else:
        fewest = max(1 + min(1.0, (n - 1) / 20), n / 64)
    return min(fewest, (signs.get("n_classes", float("inf")) - 1) / 2)


@dataclass(frozen=True)
class Course:
    """Judges the course of embeddings by their signal: their spread times their repeatability, see `vital_signs`.

    Healthy runs may begin with embeddings that point the same way, or lose some of their spread at first; but then
    their signal rises. `studies/collapse.py` chose the numbers.

    Args:
        most: the share of the run's largest signal below which it has fallen.
        spread: the spread below which embeddings point the same way.
        rise: a signal rises if it is above this multiple of that of TREND looks before.
    """

    most: float = 0.7
    spread: float = 0.1
    rise: float = 1.0

    def collapses(self, signs: Signs) -> bool:
        low = signs["signal"] < self.most * signs["signal_most"] or signs["spread"] < self.spread
        return low and not self.rises(signs)

    def rises(self, signs: Signs) -> bool:
        return signs["signal"] > self.rise * signs["signal_before"] + NOISE


@dataclass(frozen=True)
class Lost:
    """Judges whether features tell classes apart worse than before training. `studies/collapse.py` chose the number.

    Args:
        most: the share of the rows that may be lost.
    """

    most: float = 0.08

    def features(self, signs: Signs) -> bool:
        lost = signs["told_apart"] < signs["told_apart_first"] - self.most
        return lost and signs["told_apart"] <= signs["told_apart_before"]


DIAGNOSES = (
    Diagnosis(
        "posterior collapse",
        ("information",),
        lambda signs: signs["information"] < 0.02,
        "no latent distinguishes rows: of {n_latents:.0f}, the best carries {information:.1g} nats. Try a "
        "smaller weight of the KL, one that rises from 0 (frame.common.schedules.Linear), or a weaker decoder",
    ),
    Diagnosis(
        "dimensional collapse",
        ("directions",),
        # codes that are only noise count as posterior collapse; embeddings may pass through one direction
        lambda signs: (
            signs["directions"] < fewest_directions(signs)
            and signs.get("information", 1.0) >= 0.02
            and "spread" not in signs
        ),
        "codes of {n_latents:.0f} dimensions lie in {directions:.1f} directions. Try a smaller "
        "learning rate, wider layers before the code, or a loss that spreads codes (more negatives, larger batches)",
    ),
    Diagnosis(
        "collapse of embeddings",
        ("signal_before",),
        Course().collapses,
        "embeddings tell rows apart less and less: their spread is {spread:.2f} of 1 and {repeatability:.2f} of their "
        "variance is the same in two views; the product was {signal_most:.2f} and is {signal:.2f}. Try a smaller "
        "learning rate, normalisation in the projector and the predictor, or more weight on what holds embeddings "
        "apart: negatives, variances, a slower teacher",
    ),
    Diagnosis(
        "features worse than untrained",
        ("told_apart_before",),
        Lost().features,
        "by the backbone's features {told_apart:.0%} of the rows are nearest to the mean of their class, and "
        "{told_apart_first:.0%} were before training. Try a smaller learning rate, weaker augmentations, or more "
        "weight on what holds embeddings apart: negatives, variances, a slower teacher",
        patience=4,
    ),
    Diagnosis(
        "mode collapse",
        ("sample_distance",),
        # if codes have collapsed, samples cannot vary
        lambda signs: signs["sample_distance"] < 0.1 and signs.get("information", 1.0) >= 0.02,
        "samples are all alike: the nearest other one is {sample_distance:.1%} as far as in the data. Try a smaller "
        "learning rate of the generator, more steps of the adversary (n_adversary_steps), or a critic with a penalty",
    ),
    Diagnosis(
        "dead codebook",
        ("perplexity",),
        lambda signs: signs["perplexity"] < 1 + 0.05 * min(signs["n_codes"], signs["n_vectors"]),
        "{n_vectors:.0f} vectors use {perplexity:.1f} of {n_codes:.0f} codes (perplexity). Try to revive dead codes "
        "(revive_below=0.1), fewer codes, or a smaller learning rate",
    ),
)
WON = Diagnosis(
    "the adversary has won",
    ("D_real", "D_fake"),
    lambda signs: signs["D_real"] > 0.99 and signs["D_fake"] < 0.01,
    "for {iterations:.0f} iterations it was nearly always right (real {D_real:.4f}, fake {D_fake:.4f}), and its "
    "opponent's gradient vanishes. Try a smaller optimization.adversary_optimizer.lr, a smaller adversary, or a critic "
    "with a penalty",
)
STUCK = Diagnosis(
    "loss does not move",
    ("stuck",),
    lambda signs: signs["stuck"] > 0,
    "after {iterations:.0f} iterations it is where it began ({first:.5g}, now {last:.5g}). Try a larger learning rate, "
    "and look for a layer without gradient: saturated units, weights of 0, frozen parameters",
)


class Doctor(Callback):
    """Reports each problem when it begins and when it is over, in the terminal and in the run's `doctor.jsonl`.

    It judges losses when they are logged, and a few hundred rows each `check_every`. It does nothing in a step and
    changes nothing that is trained. Only rank 0 does this; it needs the others if each holds a part of the model.

    Args:
        check_every: how often rows are judged, such as '200 iterations', or '1%' of the run.
        n_samples: rows of the validation split (of the training split where there is none).
        patience: judgements in a row before a problem, or its end, is reported.
        share: largest share of the training time that judging may take; it waits if it took more. 1 never waits.

    Raises:
        UserError: a number is out of range, or check_every is not a duration.
    """

    trend, settled = TREND, SETTLED

    def __init__(
        self, check_every: str = "200 iterations", n_samples: int = 256, patience: int = 3, share: float = 0.005
    ) -> None:
        at_least(32, n_samples=n_samples)
        at_least(1, patience=patience)
        if not 0 < share <= 1:
            raise UserError(f"doctor.share={share}: it lies in (0, 1]")
        self.check_every = parse_length(check_every, key="doctor.check_every")
        self.every = Duration(1, "iterations")  # the same, as it is counted in this run
        self.n_samples, self.patience, self.share = n_samples, patience, share
        self.next_at = 0.0
        self.took = 0.0  # seconds spent on judging
        self.context: Context | None = None
        self.rows: Batch | None = None
        self.said: list[str] = []  # problems that were reported and are not over
        self.advised: list[str] = []  # those that were ever reported, whose advice is not repeated
        self.streaks: dict[str, int] = {}  # judgements in a row that contradict the last report
        self.windows: dict[str, list[float]] = {}  # mean losses of at least WINDOW iterations each
        self.sums: dict[str, list[float]] = {}  # sums of the incomplete window
        self.window_began = 0
        self.moving: list[str] = []  # losses that have moved once
        self.signals: list[float] = []  # the last ones of embeddings
        self.signal_most = 0.0
        self.told_apart: list[float] = []  # before training, and at the last looks
        self.n_told = 0  # looks since then

    def bind(self, context: Context) -> None:
        self.context = context

    # When it looks

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        optimization = optimization_of(pl_module)
        if isinstance(self.check_every, Share):
            assert optimization.run_length is not None, "it is bound before training"
            self.every = optimization.run_length.counted(self.check_every, key="doctor.check_every")
        else:
            self.every = self.check_every
            self.every.check(optimization.counters, key="doctor.check_every")
        self.next_at = self.every.next_after(optimization.counters[self.every.counter])
        whole_or_first = in_parts(optimization.model) or trainer.is_global_zero
        if isinstance(optimization.model, Embeds) and not optimization.counters["iterations"] and whole_or_first:
            self.begin(self.examine(optimization))

    def is_due(self, optimization: Optimization) -> bool:
        return optimization.counters[self.every.counter] >= self.next_at

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        optimization = optimization_of(pl_module)
        if not self.is_due(optimization):
            return
        self.next_at = self.every.next_after(optimization.counters[self.every.counter])
        looks = self.took <= self.share * optimization.counters["seconds"]
        if in_parts(optimization.model):  # all ranks take part, or none
            looks = trainer.strategy.broadcast(looks)
        elif not trainer.is_global_zero:
            return
        if looks:
            with optimization.clock.paused():
                started = time.monotonic()
                signs = self.examine(optimization)
                if trainer.is_global_zero:
                    self.judge(self.compared(signs), DIAGNOSES, optimization, self.patience)
                self.took += time.monotonic() - started

    def examine(self, optimization: Optimization) -> Signs:
        """The vital signs of the model that is trained."""
        assert self.context is not None, "bind() comes before training"
        with gathered(optimization.model), evaluating(optimization.model):
            if self.rows is None:  # the same rows each time, read once
                data = self.context.data
                split = "valid" if "valid" in data.splits else data.splits[0]
                self.rows = next(batches(optimization.model, data, split, self.n_samples, self.n_samples))
            return vital_signs(optimization.model, self.rows)

    def on_losses(self, trainer: Trainer, optimization: Optimization, losses: Mapping[str, float]) -> None:
        """The means since the last time, each time they are logged."""
        if not trainer.is_global_zero:
            return
        for name, value in losses.items():
            if name.rpartition("/")[2] in ("loss", "D_real", "D_fake"):
                self.sums.setdefault(name, []).append(value)
        iteration = int(optimization.counters["iterations"])
        if iteration - self.window_began < WINDOW:
            return
        self.window_began = iteration
        for name, values in self.sums.items():
            history = self.windows.setdefault(name, [])
            history.append(mean(values))
            del history[: -4 * WINDOWS]
        self.sums = {}
        for name, history in self.windows.items():
            if len(history) >= WINDOWS:
                last = name.rpartition("/")[2]
                fake = self.windows.get(name.removesuffix("real") + "fake")
                if last == "D_real" and fake is not None:
                    self.judge_contest(history, fake, optimization)
                elif last == "loss" and not any("adversary/" in other for other in self.windows):
                    self.judge_loss(name, history, optimization)  # a loss against an adversary need not fall

    def judge_contest(self, real: list[float], fake: list[float], optimization: Optimization) -> None:
        signs = {"D_real": median(real[-WINDOWS:]), "D_fake": median(fake[-WINDOWS:]), "iterations": WINDOW * WINDOWS}
        self.judge(signs, (WON,), optimization, 1)

    def judge_loss(self, name: str, history: list[float], optimization: Optimization) -> None:
        if name not in self.moving:
            stuck = not moves(history)
            signs = {"stuck": stuck, "iterations": self.window_began, "first": history[0], "last": history[-1]}
            self.judge(signs, (replace(STUCK, name=f"{name} does not move"),), optimization, 1)
            if not stuck:
                self.moving.append(name)

    def begin(self, signs: Signs) -> None:
        """Notes what the untrained model tells apart."""
        self.told_apart = [signs["told_apart"]] if "told_apart" in signs else []

    def compared(self, signs: Signs) -> Signs:
        """With what signs were before, as far as there are so many looks."""
        return {**signs, **self._signal(signs), **self._told_apart(signs)}

    def _told_apart(self, signs: Signs) -> Signs:
        """What was told apart before training and TREND looks before, once it has settled."""
        if "told_apart" not in signs or not self.told_apart:
            return {}
        first, *last = self.told_apart
        last = [*last[-self.trend :], signs["told_apart"]]
        self.told_apart, self.n_told = [first, *last], self.n_told + 1
        return {"told_apart_first": first, "told_apart_before": last[0]} if self.n_told >= self.settled else {}

    def _signal(self, signs: Signs) -> Signs:
        """The `signal` of embeddings: now, TREND looks before and at most."""
        if "spread" not in signs:
            return {}
        repeatability = signs.get("repeatability", 1.0)
        signal = signs["spread"] * repeatability
        self.signals = [*self.signals[-self.trend :], signal]
        self.signal_most = max(self.signal_most, signal)
        found = {"repeatability": repeatability, "signal": signal, "signal_most": self.signal_most}
        return {**found, "signal_before": self.signals[0]} if len(self.signals) > self.trend else found

    # What it says

    def judge(self, signs: Signs, diagnoses: tuple[Diagnosis, ...], optimization: Any, patience: int) -> None:
        """Reports what `patience` judgements in a row agree on, if it is new."""
        for diagnosis in diagnoses:
            if not all(sign in signs for sign in diagnosis.signs):
                continue
            name, holds = diagnosis.name, diagnosis.holds(signs)
            self.streaks[name] = self.streaks.get(name, 0) + 1 if holds != (name in self.said) else 0
            if self.streaks[name] >= patience * diagnosis.patience:
                self.streaks[name] = 0
                if holds:
                    self.said.append(name)
                else:
                    self.said.remove(name)
                text = diagnosis.text.format(**signs) if holds else "over"
                if name in self.advised:
                    text = text.partition(ADVICE)[0]
                elif holds:
                    self.advised.append(name)
                self.tell(name, text, signs, optimization)

    def tell(self, name: str, text: str, signs: Signs, optimization: Optimization) -> None:
        iteration = int(optimization.counters["iterations"])
        say(
            f"doctor, iteration {iteration}: {name}: {text}"
            if text != "over"
            else f"doctor, iteration {iteration}: no longer: {name}"
        )
        if self.context is not None and self.context.run is not None:
            entry = {"iteration": iteration, "seconds": optimization.counters["seconds"], "name": name, "text": text}
            self.context.run.diagnose({**entry, "signs": {key: float(v) for key, v in signs.items()}})

    def state_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for key in STATE:
            if key in state_dict:  # older checkpoints have no signals
                setattr(self, key, state_dict[key])


STATE = (
    *("said", "streaks", "windows", "sums", "window_began", "moving", "signals", "signal_most"),
    *("told_apart", "n_told", "advised"),
)


def moves(history: list[float]) -> bool:
    """Whether values change by more than noise, from the first third to the last or away from the first value.

    The noise is estimated from the median difference of neighbours, which is 0.954 standard deviations for Gaussians.
    """
    steps = [abs(a - b) for a, b in zip(history, history[1:], strict=False)]
    noise = median(steps) / 0.954
    third = len(history) // 3
    drift = abs(mean(history[:third]) - mean(history[-third:]))
    return drift > 4 * noise * (2 / third) ** 0.5 or abs(history[0] - median(history[1:])) > 6 * noise
