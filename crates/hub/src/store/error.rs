//! Why a store could not do what it was asked, each with what to do about it.

/// A store's refusal. Nothing that was stored before is lost by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nobody whom a message is for has room, and their policy is to refuse.
    #[error(
        "the inbox of {0} is full; wait until something in it is acknowledged, raise the bound, or choose `drop_oldest`"
    )]
    InboxFull(String),
    /// A name or an id that no key can hold.
    #[error("{what} has {length} bytes, at most {most} are allowed; choose a shorter one")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        most: usize,
    },
    /// A message for nobody.
    #[error("a message needs at least one user or channel; name one")]
    NoTarget,
    /// No room on the disk.
    #[error(
        "the disk of {dir} is full ({free} MB free, {needed} MB are kept free); make room, and publishing goes on by itself"
    )]
    DiskFull {
        /// The data directory.
        dir: String,
        /// What is free, in megabytes.
        free: u64,
        /// What must stay free, in megabytes.
        needed: u64,
    },
    /// A store in memory holds no more.
    #[error(
        "the store in memory is full ({most} MB); acknowledge or delete messages, or keep them on disk: --data-dir DIR"
    )]
    MemoryFull {
        /// How much it holds, in megabytes.
        most: u64,
    },
    /// The directory cannot be written.
    #[error(
        "{dir} cannot be written: {reason}; make it writable for the user that runs the server, or run this as that user"
    )]
    ReadOnly {
        /// The data directory.
        dir: String,
        /// What the system says.
        reason: String,
    },
    /// The directory that was opened is not where it was.
    #[error(
        "{dir} is not there any more, or another directory is in its place; put it back, and publishing goes on by \
         itself, or restart with the one that is meant"
    )]
    Gone {
        /// The data directory.
        dir: String,
    },
    /// Something else is in the directory's place.
    #[error("{dir} is no directory: {reason}; name one, or a place where there is nothing yet")]
    NoDirectory {
        /// The data directory.
        dir: String,
        /// What the system says.
        reason: String,
    },
    /// No store there.
    #[error(
        "there is no store in {dir}; name a directory that `oyez serve --data-dir` or `oyez store backup` has written"
    )]
    Missing {
        /// The data directory.
        dir: String,
    },
    /// A copy that was ended before all of it was there.
    #[error("{dir} is a copy that was not finished; remove what is in it, and make it again")]
    Unfinished {
        /// The directory.
        dir: String,
    },
    /// A place for a copy that holds something.
    #[error("{dir} is not empty; name a directory that is empty, or is not there yet")]
    NotEmpty {
        /// The directory.
        dir: String,
    },
    /// A place for a copy that is within what is to be copied.
    #[error("{dir} is in {of}, which is to be copied; name a directory outside it, best on another disk")]
    Inside {
        /// The directory.
        dir: String,
        /// The one that it is in.
        of: String,
    },
    /// Another process has it.
    #[error("{dir} is in use by another process; stop that one, or choose another --data-dir")]
    Locked {
        /// The data directory.
        dir: String,
    },
    /// Written by a later version.
    #[error("{dir} was written by a newer version (format {found}, this one knows up to {known}); run that version")]
    Newer {
        /// The data directory.
        dir: String,
        /// The format that was found.
        found: u32,
        /// The latest format that is known.
        known: u32,
    },
    /// The history that nodes share cannot be told yet that something is missing there.
    #[error(
        "the history of this channel misses something, and cannot be told so yet; it is tried again by itself: look at the store (/readyz)"
    )]
    Unmended,
    /// Bytes are not what was written.
    #[error("the store is damaged: {what} ({place}); stop the server and run: oyez store repair --data-dir {dir}")]
    Damaged {
        /// What is wrong.
        what: String,
        /// Where.
        place: String,
        /// The data directory.
        dir: String,
    },
    /// The engine cannot open its files, which is where mending would begin.
    #[error(
        "the store is damaged: {what} ({place}), which nothing can repair; move {dir} away, and bring back a backup: \
         oyez store restore --data-dir {dir} BACKUP"
    )]
    Broken {
        /// What is wrong.
        what: String,
        /// Where.
        place: String,
        /// The data directory.
        dir: String,
    },
    /// A part of the store is not there, or something else is in its place.
    #[error(
        "a part of the store is missing: {part}; nothing was changed: put it back as it was, or move {dir} away, and bring \
         back a backup: oyez store restore --data-dir {dir} BACKUP"
    )]
    Incomplete {
        /// What is missing.
        part: String,
        /// The data directory.
        dir: String,
    },
    /// The disk failed while something was written: nothing more is, so that nothing is built on what may be lost.
    #[error(
        "the store failed while writing ({0}); nothing that was acknowledged is lost: look at the disk, then restart"
    )]
    Failed(String),
    /// The server that keeps the store does not do what it is asked.
    #[error("{server} does not store: {said}; {help}")]
    Server {
        /// Which server.
        server: String,
        /// What is wrong with it, in a word.
        word: &'static str,
        /// What it, or the system, said.
        said: String,
        /// What to do about it.
        help: String,
    },
    /// The server that keeps the store has no room.
    #[error("{server} has no room for more messages; {help}")]
    ServerFull {
        /// Which server.
        server: String,
        /// What to do about it.
        help: String,
    },
    /// The store has been shut down.
    #[error("the store is shut down; ask again when the server is back")]
    Closed,
}

impl StoreError {
    /// A word for logs and metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::InboxFull(_) => "inbox_full",
            Self::TooLong { .. } => "too_long",
            Self::NoTarget => "no_target",
            Self::DiskFull { .. } => "disk_full",
            Self::MemoryFull { .. } => "memory_full",
            Self::ReadOnly { .. } => "read_only",
            Self::Gone { .. } => "gone",
            Self::NoDirectory { .. } => "no_directory",
            Self::Missing { .. } => "missing",
            Self::Unfinished { .. } => "unfinished",
            Self::NotEmpty { .. } => "not_empty",
            Self::Inside { .. } => "inside",
            Self::Locked { .. } => "locked",
            Self::Newer { .. } => "newer_version",
            Self::Unmended => "unmended",
            Self::Damaged { .. } | Self::Broken { .. } | Self::Incomplete { .. } => "damaged",
            Self::Failed(_) => "failed",
            Self::Server { word, .. } => word,
            Self::ServerFull { .. } => "server_full",
            Self::Closed => "closed",
        }
    }

    /// Whether it concerns everything that is to be stored, not only what was asked.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        !matches!(self, Self::InboxFull(_) | Self::TooLong { .. } | Self::NoTarget)
    }

    /// A record that does not say what it should. The engine knows the directory.
    #[must_use]
    pub fn damaged(what: impl Into<String>, place: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), place: place.into(), dir: "DIR".to_owned() }
    }
}
