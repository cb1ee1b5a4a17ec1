"""What an email is and what may become of it: values, rules and tables, no I/O."""
