"""A Lightning module with a loss of two terms, as an objective."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from weightsearch.adapters.lightning import epochs, options


class Curve(lightning.LightningModule):
    def __init__(self, weights, width):
        super().__init__()
        self.weights = weights
        self.net = nn.Sequential(
            nn.Linear(1, width), nn.Tanh(), nn.Dropout(0.1), nn.Linear(width, 1)
        )

    def training_step(self, batch, index):
        error = self.net(batch[0]) - batch[1]
        terms = {"mae": error.abs().mean(), "mse": (error**2).mean()}
        return sum(self.weights[name] * term for name, term in terms.items())

    def validation_step(self, batch, index):
        self.squared = ((self.net(batch[0]) - batch[1]) ** 2).squeeze(1)
        self.log("rmse", self.squared.mean().sqrt())

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-2)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.8)]


def loaders():
    x = torch.linspace(-1, 1, 96)[:, None]
    y = torch.sin(5 * x) + 0.3 * torch.randn(x.shape)
    train, val = TensorDataset(x[::2], y[::2]), TensorDataset(x[1::2], y[1::2])
    return DataLoader(train, batch_size=8, shuffle=True), DataLoader(val, batch_size=48)


def run(weights, params, context):
    lightning.seed_everything(context.seed, verbose=False)
    module = Curve(weights, params["width"])
    trainer = lightning.Trainer(**options(context), gradient_clip_val=1.0)
    yield from epochs(
        context,
        trainer,
        module,
        *loaders(),
        more=lambda: {"squared_error": module.squared},  # one value per sample
    )
