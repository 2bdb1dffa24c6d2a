"""`roughfed audit`: attacks on exactly what the server sees, so that the claim about privacy is a measurement."""
