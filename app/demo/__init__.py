"""Makes a phantom study and runs the application on it."""
