"""Packs to score networks and files on."""

from __future__ import annotations

from weightsearch.depth.evaluation.metrics import METRICS

SMALL = (24, 32)
NYU = (480, 640)
STATED = {*METRICS, "rmse_pooled"}
