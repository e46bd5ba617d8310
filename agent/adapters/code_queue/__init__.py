"""The Code Queue behind the queue port."""
