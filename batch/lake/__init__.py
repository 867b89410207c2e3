"""The edge to storage: objects, Parquet, manifests, deliveries, and the read API."""
