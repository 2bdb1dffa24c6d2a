"""What can be known of labels: how often each class comes, and which labels are wrong."""
