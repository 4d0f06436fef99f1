"""Files of others, opened so that a hostile one costs an error in one line."""
