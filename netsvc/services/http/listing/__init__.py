"""Lists of directories, for people and for programs."""
