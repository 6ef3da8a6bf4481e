//! What the process takes of its machine. The program reads it from the system; the server only shows it.

/// Figures of one moment; none where the system does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Process {
    /// Bytes of memory that are really there (RSS).
    pub resident_bytes: Option<u64>,
    /// Open file descriptors; every connection is one.
    pub open_files: Option<u64>,
    /// How many there may be.
    pub max_files: Option<u64>,
}
