"""What comes of contributions: who takes part without giving, what each client is given in return."""
