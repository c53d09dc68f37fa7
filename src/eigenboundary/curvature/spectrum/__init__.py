"""The whole spectrum: trace, density, outliers, and eigenvectors to compare with."""
