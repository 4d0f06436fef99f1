"""What a trained network is used for: prediction, export, benchmarks of its cost."""

from weightsearch.depth.uncollected import uncollected

with uncollected():
    from weightsearch.depth.network import timm_alone as timm_alone  # before a module imports timm
