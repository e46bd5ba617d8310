"""`wavekeeper demo-delivery`."""
