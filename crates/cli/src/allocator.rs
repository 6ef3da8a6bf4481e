//! The allocator of the program. A server allocates and frees small things all day; docs/performance.md says what this
//! one saves.
#![expect(unsafe_code, reason = "one call into the allocator, which has no safe name for it")]

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Gives back to the system what this thread has freed. By itself the allocator keeps, for each thread and size, pages
/// for the next one who comes.
pub(crate) fn release() {
    // What the first pass frees, the second gives back.
    for _ in 0..2 {
        // SAFETY: it takes no pointer, may be called by any thread at any time, and touches only what nobody uses.
        unsafe { libmimalloc_sys::mi_collect(true) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    #[test]
    #[cfg(target_os = "linux")]
    fn what_was_freed_goes_back_to_the_system() {
        const MUCH: u64 = 64 * 1024 * 1024;
        let resident = || process::read().resident_bytes.expect("this system tells");
        let many: Vec<Vec<u8>> = (0..MUCH / 256).map(|_| vec![1; 256]).collect();
        let full = resident();
        drop(many);
        release();
        let left = resident();
        assert!(left + MUCH / 2 < full, "{left} of {full} bytes are left");
    }
}
