"""A user's own home: any files of events -> a folder that one can read and edit -> sessions."""
