"""What a person is asked, and when an answer still holds."""
