"""What is in the town and what happens there: streets, traffic, people, weather, words. Draws nothing."""
