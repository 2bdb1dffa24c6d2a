"""The defences, one file each; the table that names them is `roughfed.server.defence.RULES`."""
