"""The numbered lines of the specification, sentence by sentence, through a whole connection."""
