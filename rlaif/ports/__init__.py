"""What stages may ask of the outside world, and the registry that finds who answers."""
