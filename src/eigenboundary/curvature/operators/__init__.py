"""The Hessian and the Gauss–Newton matrix as operators that are known by their products."""
