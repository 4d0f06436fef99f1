"""weightsearch: finds the weights of a multi-term loss, and the encoder to go with them."""
