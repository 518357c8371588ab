"""What a bundle carries beside the course itself."""
