"""`kubectl scoring`: what people do with ScoringServices that `kubectl apply` does not do for them."""
