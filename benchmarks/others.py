"""The same training in other codebases: Lightning's template with pictures one by one, and pythae's trainer."""

import logging
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from bare import Size, losses, networks
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class Pictures(Dataset[Tensor]):
    """One picture at a time, through PIL, like torchvision's data sets and transforms."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels  # [N, 784] uint8

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        picture = Image.fromarray(self.pixels[index].view(28, 28).numpy())
        return torch.from_numpy(np.array(picture)).flatten().float().div(255)


class Template(LightningModule):
    """Automatic optimization, with three numbers through `self.log`, one of them in the progress bar."""

    def __init__(self, size: Size, lr: float = 1e-3, beta: float = 0.5) -> None:
        super().__init__()
        self.encoder, self.decoder = networks(size)
        self.lr, self.beta = lr, beta

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss, distortion, rate = losses(self.encoder, self.decoder, batch, self.beta)
        self.log("loss", loss, prog_bar=True)
        self.log("distortion", distortion)
        self.log("rate", rate)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr, fused=True)


class Ticks(Callback):
    def __init__(self, tick: Callable[[], None]) -> None:
        self.tick = tick

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.tick()


def lightning_template(pixels: Tensor, size: Size, iterations: int, tick: Callable[[], None]) -> None:
    """Lightning's Trainer with its bar, TensorBoard, CSV and ModelCheckpoint."""
    loader = DataLoader(Pictures(pixels), batch_size=size.batch, shuffle=True, drop_last=True)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_steps=iterations,
            logger=[TensorBoardLogger(folder), CSVLogger(folder)],
            callbacks=[ModelCheckpoint(folder), Ticks(tick)],
            enable_model_summary=False,
        )
        trainer.fit(Template(size), loader)


def pythae_trainer(pixels: Tensor, size: Size, iterations: int, tick: Callable[[], None]) -> None:
    """pythae's BaseTrainer for one epoch, with its bar; beta is 1, which costs the same.

    Raises:
        ImportError: the extra `bench` is not installed (`make bench-extra`).
    """
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    for name in [name for name in logging.root.manager.loggerDict if name.startswith("pythae")]:
        logging.getLogger(name).setLevel(logging.WARNING)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = networks(size)[0]

        def forward(self, x: Tensor) -> Any:
            mu, log_variance = self.network(x.flatten(1)).chunk(2, dim=-1)
            return ModelOutput(embedding=mu, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Sequential(networks(size)[1], nn.Sigmoid())

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.network(z).view(-1, 1, 28, 28))

    class Tick(TrainingCallback):
        def on_train_step_end(self, training_config: Any, **given: Any) -> None:
            tick()

    model = VAE(
        VAEConfig(input_dim=(1, 28, 28), latent_dim=size.z_dim, reconstruction_loss="bce"),
        encoder=Encoder(),
        decoder=Decoder(),
    )
    rows = pixels[: iterations * size.batch].view(-1, 1, 28, 28).float().div(255)  # in memory, fetched one by one
    with tempfile.TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=1,
            per_device_train_batch_size=size.batch,
            learning_rate=1e-3,
            optimizer_params={"fused": True},
        )
        data = BaseDataset(rows, torch.zeros(len(rows)))
        BaseTrainer(model, train_dataset=data, training_config=settings, callbacks=[Tick()]).train()
