"""Distances between a model's samples and real pictures, in the features of a network trained here."""

import math

from torch import Tensor, nn

from frame.common.errors import TooFew, UserError, at_least, choices
from frame.data.base import Batch, DataSet
from frame.evaluation.base import Better, Evaluation, LogEntry, Samples, Scalar, over_rows
from frame.evaluation.feature_network import KINDS, SIZE, Features, features_of
from frame.evaluation.shards import dealt
from frame.measures.generation import density_coverage, fid, kid, precision_recall

AT_ONCE = 1000  # pictures that are sampled at a time
SUBSETS, SUBSET_SIZE = 100, 1000  # of KID
K_PRECISION, K_DENSITY = 3, 5  # as in the papers


class GenerationEvaluation(Evaluation):
    """'fid', 'kid', 'precision', 'recall', 'density' and 'coverage' of the model's samples against pictures of a split.

    Features are those of a classifier trained here on the data's own training split, or principal components if there
    are no labels (see `features_of`). So numbers are not comparable with published ones, nor with those of other
    features, whose hash is in the record. Each number has a floor, '<number>/floor/train': the same for as many
    training pictures in the place of samples. A model near its floor cannot be told from the data, nor from a copy of
    the training set.

    Args:
        evaluate_on: split whose pictures are the real ones.
        n_samples: pictures of the split, samples, and training pictures of the floor; fewer if a split has fewer.
        sample_images: draw pixels from p(x|z) instead of taking its means. None: only if the data are binary, because
            grey means would be told from them at once.
        features: 'classifier' or 'pca' (principal components of pixels). None: a classifier if 'train' has labels.

    Raises:
        UserError: n_samples < 2, or features are unknown; from `evaluate`, a classifier has no labels.
        TooFew: from `evaluate`, there are no more pictures than features.
        NoNumber: from `evaluate`, pictures that are not finite.
    """

    needs = (Samples,)
    numbers = {
        f"{name}{floor}": ""
        for floor in ("", "/floor/train")
        for name in ("fid", "kid", "precision", "recall", "density", "coverage")
    }

    def __init__(
        self,
        evaluate_on: str = "test",
        n_samples: int | None = 10_000,
        sample_images: bool | None = None,
        features: str | None = None,
    ) -> None:
        super().__init__(evaluate_on)
        at_least(2, n_samples=n_samples)
        if features is not None and features not in KINDS:
            raise UserError(choices(features, KINDS, kind="features"))
        self.n_samples, self.sample_images, self.features = n_samples, sample_images, features
        self._kept: tuple[DataSet, Features, Tensor, dict[str, Scalar]] | None = None  # of the data, not of the model

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, Samples)
        n = min(len(data.split(self.evaluate_on)), self.n_samples or math.inf, len(data.split("train")))
        if n <= SIZE:
            raise TooFew(f"{n} pictures are too few for {SIZE} features: generation needs more")
        first = next(self.batches(model, data, 256))["x"]
        noisy = bool(((first == 0) | (first == 1)).all()) if self.sample_images is None else self.sample_images
        if self._kept is None or self._kept[0] is not data:
            features = features_of(data, self.features, first.device)

            def of(batch: Batch) -> dict[str, Tensor]:
                return {"": features.of(batch["x"]).float()}

            real, train = (over_rows(model, data, split, int(n), of)[""] for split in (self.evaluate_on, "train"))
            self._kept = data, features, real, self._measured(real, train, features, f"{n} pictures of train")
        _, features, real, floor = self._kept
        sizes = [min(AT_ONCE, int(n) - start) for start in range(0, int(n), AT_ONCE)]

        def sampled(chunk: int) -> dict[str, Tensor]:
            return {"": features.of(model.sample(sizes[chunk], sample_images=noisy)).float()}

        drawn = dealt(sizes, sampled)[""]
        what = f"{n} samples" if noisy else f"means of p(x|z) of {n} samples"
        found = self._measured(real, drawn, features, what)
        return LogEntry(self.evaluate_on, found | {f"{key}/floor/train": scalar for key, scalar in floor.items()})

    def _measured(self, real: Tensor, others: Tensor, features: Features, what: str) -> dict[str, Scalar]:
        n = len(others)

        def scalar(value: float, how: str, error: float | None = None, better: Better = "more") -> Scalar:
            of = f"{how} of {what} and {len(real)} pictures of {self.evaluate_on}; features: {features.name}"
            return Scalar(value, "", n, f"{of}; not comparable with published ones", error, better=better)

        def share(value: float, how: str) -> Scalar:
            return scalar(value, how, math.sqrt(value * (1 - value) / n))

        size = min(SUBSET_SIZE, n // 2, len(real) // 2)
        mmd, spread = kid(real, others, SUBSETS, size)
        precision, recall = precision_recall(real, others, K_PRECISION)
        density, coverage = density_coverage(real, others, K_DENSITY)
        return {
            "fid": scalar(fid(real, others), "Frechet distance", better="less"),
            # subsets share rows: their mean is about as uncertain as one subset with all rows
            "kid": scalar(mmd, f"mean of {SUBSETS} subsets of {size}", spread * math.sqrt(size / n), "less"),
            "precision": share(precision, f"balls to the {K_PRECISION}rd nearest neighbour"),
            "recall": share(recall, f"balls to the {K_PRECISION}rd nearest neighbour"),
            "density": scalar(density, f"balls to the {K_DENSITY}th nearest neighbour"),
            "coverage": share(coverage, f"balls to the {K_DENSITY}th nearest neighbour"),
        }
