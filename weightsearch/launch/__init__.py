"""Takes a study from plan to promotion, and starts its workers; never sees a trial itself."""
