"""Where a study can be shown beside its own database: MLflow, TensorBoard."""
