"""Daily bars as NumPy columns: windows, splits, folding. Pure and fast."""
