"""What the guest does and says: events, sleep, its agent."""
