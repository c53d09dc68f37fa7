"""The whole spectrum: trace, density, outliers, and control directions."""
