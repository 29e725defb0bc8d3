"""What a run shows: the JSON's form, a table of it, the goals met and missed, and a picture."""
