"""What is trained, stage by stage: autoencoders, driving networks, and the one way in which every stage is run."""
