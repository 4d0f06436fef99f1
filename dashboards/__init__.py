"""What serves pictures of studies."""
