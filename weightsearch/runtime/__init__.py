"""What any process needs: atomic files, safe text, devices, stop signals, provenance."""
