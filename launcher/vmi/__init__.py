"""What a VirtualMachineInstance asks for: its schema, its admission rules, and the result as data."""
