"""What a network saw: integrated gradients, checks of them against the truth, honest erasures."""
