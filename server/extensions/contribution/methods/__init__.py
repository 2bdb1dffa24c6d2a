"""The methods of the table, one file each; they never import one another."""
