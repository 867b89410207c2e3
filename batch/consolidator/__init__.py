"""From deliveries to clean daily bars."""
