"""The search for the nearest boundary point of any input: starts, descent and refinement."""
