//! One supervised actor for every component of the run book.
