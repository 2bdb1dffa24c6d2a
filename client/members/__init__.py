"""This client's membership: enrolment, credentials and their renewal."""
