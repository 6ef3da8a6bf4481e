//! What a wrong file is told.
