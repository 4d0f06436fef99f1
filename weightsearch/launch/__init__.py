"""Starting workers: none of this ever sees a trial."""
