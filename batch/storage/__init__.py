"""The edge to storage: object stores with conditional writes, and Parquet in and out."""
