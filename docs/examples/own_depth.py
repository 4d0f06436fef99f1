"""A depth network and loss of your own, on weightsearch's packs, split and protocols."""

import torch
from torch import nn

from weightsearch.data.packs.building import ensure
from weightsearch.data.packs.layout import Pack
from weightsearch.data.packs.validation_split import split_frames
from weightsearch.depth.evaluation.protocols import PROTOCOLS
from weightsearch.depth.evaluation.scoring import score


def run(weights, params, context):
    spec, device = context.spec, torch.device(context.device)
    torch.manual_seed(context.seed)
    net = nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.Conv2d(8, 1, 3, 1, 1)).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    protocol = PROTOCOLS[spec.evaluate.protocol]

    def metres(rgb):  # (b, 3, h, w) in 0..1 to (b, 1, h', w')
        return net(rgb).exp()

    path = ensure(spec.data.source, context.data, spec.data.options, context.home)
    with Pack(path) as pack:  # decoded once, read by all points
        train, val = split_frames(pack, spec, context.fold)
        frames = [pack.indices("train")[k] for k in train]
        for _ in range(context.epochs):
            for chunk in pack.batches(frames, spec.train.batch):
                rgb, depth_m, valid = map(torch.from_numpy, pack.read(chunk))
                predicted = metres(rgb.to(device).movedim(3, 1) / 255)
                predicted = nn.functional.interpolate(predicted, depth_m.shape[1:])[:, 0]
                error = (predicted - depth_m.to(device))[valid.to(device)]
                loss = weights["mae"] * error.abs().mean() + weights["mse"] * (error**2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            found = score(metres, pack, val, protocol, spec.data.size, device, spec.train.batch)
            yield {**found.per_image, "groups": found.groups}  # a value per image, in metres
