"""Training: inputs on a device, the loop, its metrics and checkpoints, and scoring."""
