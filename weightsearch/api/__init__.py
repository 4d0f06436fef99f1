"""What a program or a notebook calls; `weightsearch` itself offers it by name."""
