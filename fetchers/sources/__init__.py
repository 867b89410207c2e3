"""Sources of deliveries other than the vendor's HTTP interface."""
