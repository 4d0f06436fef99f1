"""The table [track] of a study file: where its results are shown too."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import field_validator

from weightsearch.study.spec_fields import Part


class TrackSpec(Part):
    """Where a study is shown beside its own database; no part of its identity."""

    mlflow: str | None = None
    """A tracking URI: of a server, or sqlite:///FILE."""
    tensorboard: str | None = None
    """A folder, relative to the current one."""
    wandb: str | None = None
    """A folder, relative to the current one; W&B's offline runs are below it, in wandb/."""

    @field_validator("mlflow")
    @classmethod
    def _without_a_password(cls, uri: str | None) -> str | None:
        try:
            is_secret = uri is not None and urlsplit(uri).password is not None
        except ValueError:
            is_secret = True  # it cannot be told, and an error would quote it
        if is_secret:
            raise ValueError(
                "must be a tracking URI without a password, which anyone could read; put it into"
                " MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            )
        return uri
