"""What stands in for the outside world: the synthetic exchange and the vendor."""
