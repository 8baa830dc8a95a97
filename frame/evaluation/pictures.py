"""Pictures that a person can look at."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

GAP = 3  # pixels between pictures
PAPER = 255
SMALLEST = 56  # pixels: smaller pictures are enlarged by a whole factor, without smoothing


def grid(pictures: Tensor, n_columns: int, row_labels: Sequence[str] = ()) -> np.ndarray:
    """Pictures [N, C, H, W] in [0, 1], C = 1 or 3, row after row on white: [height, width, 3] uint8.

    Args:
        n_columns: pictures in a row; places that are left over in the last row stay white.
        row_labels: written to the left of the rows, one for each.
    """
    pictures = pictures.detach().float().cpu().clamp(0, 1).expand(-1, 3, -1, -1)
    factor = math.ceil(SMALLEST / min(pictures.shape[-2:]))
    pictures = pictures.repeat_interleave(factor, -2).repeat_interleave(factor, -1)
    n, _, height, width = pictures.shape
    n_rows = math.ceil(n / n_columns)
    canvas = torch.full((n_rows * (height + GAP) + GAP, n_columns * (width + GAP) + GAP, 3), PAPER, dtype=torch.uint8)
    for i, picture in enumerate((pictures * 255).round().to(torch.uint8)):
        top = GAP + (i // n_columns) * (height + GAP)
        left = GAP + (i % n_columns) * (width + GAP)
        canvas[top : top + height, left : left + width] = picture.permute(1, 2, 0)
    image = canvas.numpy()
    return _labelled(image, row_labels, height) if row_labels else image


def _labelled(image: np.ndarray, row_labels: Sequence[str], height: int) -> np.ndarray:
    """A margin to the left with a label at each row's middle."""
    font = ImageFont.load_default(size=13)
    margin = GAP + math.ceil(max(font.getlength(label) for label in row_labels)) + GAP
    paper = Image.new("RGB", (margin + image.shape[1], image.shape[0]), (PAPER,) * 3)
    paper.paste(Image.fromarray(image), (margin, 0))
    draw = ImageDraw.Draw(paper)
    for row, label in enumerate(row_labels):
        middle = GAP + row * (height + GAP) + height / 2
        draw.text((margin - GAP, middle), label, fill=(0, 0, 0), font=font, anchor="rm")
    return np.asarray(paper)
