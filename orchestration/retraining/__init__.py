"""What happens when nobody is at a terminal: conditions, sensors and a schedule, recovery, notices."""
