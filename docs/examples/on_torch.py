"""A plain PyTorch loop with a loss of two terms, as an objective that is resumed."""

import torch
from torch import nn

from weightsearch.adapters.torch import epochs


def run(weights, params, context):
    torch.manual_seed(context.seed)
    x = torch.linspace(-1, 1, 96)[:, None]
    y = torch.sin(5 * x) + 0.3 * torch.randn(x.shape)
    width = params["width"]
    net = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Dropout(0.1), nn.Linear(width, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)

    def train_epoch():
        net.train()
        for batch in torch.randperm(48).split(8):
            error = net(x[::2][batch]) - y[::2][batch]
            loss = weights["mae"] * error.abs().mean() + weights["mse"] * (error**2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            return {"rmse": ((net(x[1::2]) - y[1::2]) ** 2).mean().sqrt()}

    yield from epochs(context, train_epoch, {"net": net, "optimizer": optimizer})
