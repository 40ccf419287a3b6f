"""What a network sees of a dataset: its images scaled, cropped and augmented, and the batches of each epoch."""
