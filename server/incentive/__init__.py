"""What comes of contributions: who takes part without giving, what each is given in return, and a record of it."""
