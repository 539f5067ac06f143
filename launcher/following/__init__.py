"""The pod, followed while its VM runs: what changes there is noticed, and taken in as the next `prestart` would."""
