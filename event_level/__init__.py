"""From the scores of jets to the scores of events: which fits there are, and how they are grown."""
