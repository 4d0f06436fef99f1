"""The database: the embedded server, the ledger, the mirror (an Optuna study) and the spool."""
