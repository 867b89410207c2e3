"""The command `ohlcv`."""
