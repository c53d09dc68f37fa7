"""Eigenpairs of symmetric operators, each with a checked residual."""
