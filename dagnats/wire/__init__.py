"""What goes over the wire: subjects, encodings, and the shapes that other languages read and write."""
