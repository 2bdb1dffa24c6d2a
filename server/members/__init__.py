"""Who belongs to the federation: the authority, its list of members, certificates, sessions, quarantine."""
