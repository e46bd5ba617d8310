"""What a reviewer is shown, and which of its verdicts count."""
