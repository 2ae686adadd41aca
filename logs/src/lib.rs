//! Log types: bytes in, classified events out.
