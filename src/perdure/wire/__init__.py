"""What goes over the wire of the native API: plain typed shapes, shared by the server and the client."""
