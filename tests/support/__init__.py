"""What tests share: data made on the spot, processes to run and stop, servers that fail."""
