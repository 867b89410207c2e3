"""Where deliveries come from: the vendor, files, the synthetic exchange."""
