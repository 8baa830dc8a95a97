"""Masked autoencoder: an encoder sees a few patches of a picture, and a light decoder predicts the others.

He et al. 2021, "Masked autoencoders are scalable vision learners" (2111.06377), section 3.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.data.base import Batch
from frame.models.base import EncoderModel, headless, sized


class MAE(EncoderModel):
    """loss = the squared error of masked patches: a mean over their pixels, over the masked patches and over rows.

    Each row has a mask of its own, drawn anew. The encoder sees the other patches alone. With `normalised` the targets
    are the patches with mean 0 and variance 1, as in the paper's best models. After training the encoder is fine-tuned
    on whole pictures; `encode` and `features` are the encoder's of a whole picture.

    Args:
        encoder: a backbone of patches, such as `vit.ViT` in an `Encoder`; its head is removed.
        decoder: tokens and the order of patches -> pixels of all patches, such as `vit.PatchDecoder`; with
            `_partial_: true` it is made here, for the encoder's tokens and patches.
        mask_share: share of the patches that are masked; of T patches, int((1 - mask_share) T) are kept.
        normalised: whether targets are normalised, each patch by its own mean and variance.

    Raises:
        UserError: the encoder has no patches, mask_share leaves no patch on either side, or the networks' patches
            differ.
    """

    vectorisable = False  # the fused attention of a ViT has no batching rule

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module | partial[Any],
        mask_share: float = 0.75,
        normalised: bool = True,
    ) -> None:
        super().__init__()
        backbone: Any = getattr(encoder, "backbone", encoder)
        if not hasattr(backbone, "n_patches"):
            raise UserError(
                f"MAE masks patches, and {type(backbone).__name__} has none: give it a ViT, "
                "architectures/encoder=vit_tiny"
            )
        self.encoder: Any = headless(encoder)
        self.patch_size, self.n_patches = backbone.patch_size, backbone.n_patches
        if isinstance(decoder, partial):
            decoder = partial(decoder, patch_size=self.patch_size)
        self.decoder = sized(decoder, "decoder", getattr(backbone, "n_out", None), type(backbone).__name__)
        theirs = getattr(self.decoder, "patch_size", self.patch_size)
        if theirs != self.patch_size:
            raise UserError(f"patch_size differs (encoder {self.patch_size}, decoder {theirs}): give both the same")
        self.n_kept = int((1 - mask_share) * self.n_patches + 1e-6) if 0 < mask_share < 1 else 0
        if not 0 < self.n_kept < self.n_patches:
            raise UserError(
                f"mask_share={mask_share}: of {self.n_patches} patches at least one must be masked and one kept, such "
                "as 0.75; a smaller patch_size makes more of them"
            )
        self.normalised = normalised

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        kept, order = self.masks(len(x), x.device)
        tokens = self.encoder.backbone(x, kept)  # [B, 1 + K, D]
        predicted = self.decoder(tokens, order).float()  # [B, T, C P^2]
        errors = (predicted - self.targets(x)).square().mean(2)  # [B, T]
        masked = (order >= self.n_kept).float()
        return {"loss": (errors * masked).sum() / masked.sum()}

    def masks(self, n_rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The numbers of the kept patches of each row, [B, K], and each patch's place if kept ones come first, [B, T].

        Patch t is masked if its place is K or more.
        """
        shuffled = torch.rand(n_rows, self.n_patches, device=device).argsort(1)
        return shuffled[:, : self.n_kept], shuffled.argsort(1)

    def targets(self, x: Tensor) -> Tensor:
        """The pixels of each patch, [B, T, C P^2], float32, normalised if asked for."""
        found = patches(x.float(), self.patch_size)
        if not self.normalised:
            return found
        mean, variance = found.mean(2, keepdim=True), found.var(2, keepdim=True)
        return (found - mean) / (variance + 1e-6).sqrt()


def patches(x: Tensor, size: int) -> Tensor:
    """Pictures [B, C, H, W] as patches from left to right and from top to bottom, [B, T, C * size^2]."""
    tiles = x.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # [B, C, rows, size, columns, size]
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
