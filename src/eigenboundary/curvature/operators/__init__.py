"""The Hessian and the Gauss–Newton matrix as operators, known by their products."""
