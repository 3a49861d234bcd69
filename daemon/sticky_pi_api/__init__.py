"""The Sticky Pi client library: parse trap pictures, and put them into a store or on the project's server."""
