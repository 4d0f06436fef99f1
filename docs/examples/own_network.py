"""Your own network and your own three-term loss: all that weightsearch needs is one generator."""

import math

import torch
from torch import nn


def run(weights, params, context):
    torch.manual_seed(context.seed)
    x = torch.linspace(-1, 1, 256)[:, None]
    clean = torch.sin(5 * x)
    noisy = clean + 0.3 * torch.randn(x.shape)
    width = params["width"]
    net = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1)).to(context.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(context.epochs):
        for _ in range(50):
            predicted = net(x.to(context.device)).cpu()
            terms = {
                "fit": (predicted - noisy).abs().mean(),
                "slope": (predicted.diff(dim=0) - noisy.diff(dim=0)).abs().mean(),
                "smooth": predicted.diff(n=2, dim=0).abs().mean(),
            }
            loss = sum(weights[name] * term for name, term in terms.items())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        error = ((predicted - clean) ** 2).detach().squeeze(1)
        yield {
            "rmse": math.sqrt(error.mean()),  # a number ...
            "squared_error": error.tolist(),  # ... or one value per sample
            **{f"loss_{name}": term.item() for name, term in terms.items()},
        }
    if context.final:  # a promotion's full run: what lies here at the end is its checkpoint
        context.folder.mkdir(parents=True, exist_ok=True)
        torch.save(net.state_dict(), context.folder / "network.pt")
